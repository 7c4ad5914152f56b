//! The programs that the test rings need, and what to do when one is missing.

use std::process::{Command, Stdio};

pub(crate) struct Tool {
    program: &'static str,
    /// The argument with which it tells its version.
    version: &'static str,
    /// The least major version, 0 for any.
    major_min: u32,
    pub(crate) what_for: &'static str,
    pub(crate) install: &'static str,
}

pub(crate) const CARGO: Tool = Tool {
    program: "cargo",
    version: "--version",
    major_min: 1,
    what_for: "builds everything in Rust",
    install: "https://rustup.rs (rust-toolchain.toml names the version)",
};

pub(crate) const JAVA: &[Tool] = &[
    Tool {
        program: "java",
        version: "-version",
        major_min: 17,
        what_for: "runs the Java clients in compat/java",
        install: "a JDK 17 or newer; on Debian: apt-get install openjdk-17-jdk-headless",
    },
    Tool {
        program: "mvn",
        version: "--version",
        major_min: 0,
        what_for: "builds compat/java",
        install: "Maven 3; on Debian: apt-get install maven",
    },
];

pub(crate) const GO: &[Tool] = &[Tool {
    program: "go",
    version: "version",
    major_min: 1,
    what_for: "builds and runs the Go client in compat/go",
    install: "https://go.dev/dl; on Debian: apt-get install golang-go",
}];

pub(crate) const PYTHON: &[Tool] = &[
    Tool {
        program: "python3",
        version: "--version",
        major_min: 3,
        what_for: "runs the C++ client, through its Python binding, in compat/cpp-python",
        install: "Python 3; on Debian: apt-get install python3",
    },
    Tool {
        program: "python3",
        version: "-cimport venv, ensurepip",
        major_min: 0,
        what_for: "makes the environment of compat/cpp-python",
        install: "Python's venv module; on Debian: apt-get install python3-venv",
    },
];

pub(crate) const NODE: &[Tool] = &[
    Tool {
        program: "node",
        version: "--version",
        major_min: 18,
        what_for: "runs the Node client in compat/node",
        install: "https://nodejs.org, 18 or newer; on Debian: apt-get install nodejs",
    },
    Tool {
        program: "npm",
        version: "--version",
        major_min: 0,
        what_for: "installs what compat/node needs",
        install: "it comes with Node; on Debian: apt-get install npm",
    },
];

impl Tool {
    /// None if it is there, else what is wrong, what it is for and how to install it.
    pub(crate) fn missing(&self) -> Option<String> {
        let Self { program, what_for, install, .. } = self;
        let wrong = match self.answer() {
            None => format!("`{program} {}` does not run", self.version),
            Some(answer) => match major(&answer) {
                Some(major) if major < self.major_min => {
                    format!("`{program}` is version {major}, {} is needed", self.major_min)
                }
                None if self.major_min > 0 => format!("`{program}` does not tell its version"),
                _ => return None,
            },
        };
        Some(format!("{wrong}; it {what_for}. Install: {install}"))
    }

    /// What it writes when asked for its version, or none if that fails.
    fn answer(&self) -> Option<String> {
        let output =
            Command::new(self.program).arg(self.version).stdin(Stdio::null()).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
    }
}

/// The first number of a version text; Java's old `1.8` is 8.
fn major(answer: &str) -> Option<u32> {
    let mut numbers = answer
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map_while(|digits| digits.parse().ok());
    match (numbers.next()?, answer.starts_with("java version \"1.")) {
        (1, true) => numbers.next(),
        (first, _) => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn versions() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(major("java version \"1.8.0_392\""), Some(8));
        assert_eq!(major("openjdk version \"1.8.0_392\""), Some(1));
        assert_eq!(major("go version go1.26.8 linux/amd64"), Some(1));
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major(""), None);
    }
}
