//! Java's properties files, as far as a broker.conf goes: `key=value` lines, `#` and `!` comments,
//! a backslash at the end of a line joins it with the next.

use std::collections::BTreeMap;

/// Reads a properties text. A key that stands twice is an error: in Java the last one wins without
/// a word.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut line = line.trim().to_owned();
        if line.is_empty() || line.starts_with('#') || line.starts_with('!') {
            continue;
        }
        while line.ends_with('\\') {
            line.pop();
            let Some((_, next)) = lines.next() else { break };
            line.push_str(next.trim());
        }
        let number = number + 1;
        let Some(at) = line.find(['=', ':']) else {
            return Err(format!("line {number}: {line:?} is not KEY=VALUE"));
        };
        let (key, value) = (line[..at].trim().to_owned(), line[at + 1..].trim().to_owned());
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("line {number}: {key:?} is not a key"));
        }
        if let Some((first, _)) = pairs.insert(key.clone(), (number, value)) {
            return Err(format!("line {number}: {key} stands in line {first} already"));
        }
    }
    Ok(pairs.into_iter().map(|(key, (_, value))| (key, value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apache_ships() {
        let text = "# comment\nbrokerName = broker-a\r\n\nbrokerIP1=10.0.0.1\nnamesrvAddr=a:9876;b:9876\nlong=one,\\\n  two\n";
        let pairs = parse(text).unwrap();
        assert_eq!(pairs["brokerName"], "broker-a");
        assert_eq!(pairs["namesrvAddr"], "a:9876;b:9876");
        assert_eq!(pairs["long"], "one,two");
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(parse("a=1\n\na=2").unwrap_err(), "line 3: a stands in line 1 already");
        assert!(parse("nonsense").unwrap_err().contains("line 1"));
        assert!(parse("a b=1").is_err());
    }
}
