//! Tags: the hash by which a broker filters, and subscriptions such as `a || b`.

use bytestring::ByteString;

/// Java's `String.hashCode`: over UTF-16 units.
pub fn java_hash(text: &str) -> i32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    if text.is_ascii() {
        return text.bytes().fold(0, |hash, b| step(hash, u16::from(b)));
    }
    text.encode_utf16().fold(0, step)
}

/// The value by which a message is filtered: the hash of its tag, 0 without one.
pub fn tags_code(tags: &str) -> i32 {
    if tags.is_empty() { 0 } else { java_hash(tags) }
}

/// Which tags a subscription takes. The broker compares hashes; the client compares the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagFilter {
    /// Every message.
    All,
    /// Messages whose tag has one of these hashes.
    Codes(Vec<i32>),
}

impl TagFilter {
    /// Reads `*`, nothing, or tags with `||` between.
    pub fn parse(expression: &str) -> Result<Self, &'static str> {
        let expression = expression.trim();
        if expression.is_empty() || expression == "*" {
            return Ok(TagFilter::All);
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        let mut codes: Vec<i32> = tags.map(java_hash).collect();
        if codes.is_empty() {
            return Err("subString split error");
        }
        codes.sort_unstable();
        codes.dedup();
        Ok(TagFilter::Codes(codes))
    }

    /// Whether a message with this [`tags_code`] may be wanted.
    pub fn matches(&self, code: i32) -> bool {
        match self {
            TagFilter::All => true,
            TagFilter::Codes(codes) => codes.contains(&code),
        }
    }
}

/// Whether an expression type means tags (absent and empty do).
pub fn is_tag_type(expression_type: Option<&ByteString>) -> bool {
    expression_type.is_none_or(|t| t.is_empty() || *t == "TAG")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_java_does() {
        assert_eq!(java_hash("TagA"), 2598919);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash("你好"), 652829);
        assert_eq!(java_hash("😀"), 1772899);
    }

    #[test]
    fn expressions() {
        assert_eq!(TagFilter::parse("*"), Ok(TagFilter::All));
        assert_eq!(TagFilter::parse(""), Ok(TagFilter::All));
        let two = TagFilter::parse(" TagA || TagB||").unwrap();
        assert!(two.matches(java_hash("TagA")) && two.matches(java_hash("TagB")));
        assert!(!two.matches(java_hash("TagC")) && !two.matches(0));
        assert!(TagFilter::parse("||").is_err());
    }
}
