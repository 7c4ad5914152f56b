//! Times for people: UTC, to the second.

/// `2026-11-28T20:05:13Z`. `ms`: since 1970; what is before that or behind the year 9999 is shown
/// as the nearest time that is not.
pub(super) fn utc(ms: i64) -> String {
    const DAY_S: i64 = 86_400;
    const LAST_S: i64 = 253_402_300_799;
    let seconds = ms.div_euclid(1000).clamp(0, LAST_S);
    let (mut day, second) = (seconds / DAY_S, seconds % DAY_S);
    let mut year = 1970;
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn known_times() {
        let check = |seconds: i64, expected: &str| assert_eq!(utc(seconds * 1000), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(951_868_799, "2000-02-29T23:59:59Z");
        check(1_709_251_199, "2024-02-29T23:59:59Z");
        check(1_709_251_200, "2024-03-01T00:00:00Z");
        check(1_767_225_599, "2025-12-31T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        assert_eq!(utc(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(utc(i64::MIN), "1970-01-01T00:00:00Z");
    }
}
