//! Times as people read them, in UTC.

/// A moment. What is before 1970 or behind the year 9999 is the nearest moment that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    /// From 1 on, as is the day.
    pub month: u32,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub ms: i64,
}

/// `ms`: since 1970.
pub fn civil(ms: i64) -> Civil {
    const DAY_MS: i64 = 86_400_000;
    const LAST_MS: i64 = 253_402_300_799_999;
    let ms = ms.clamp(0, LAST_MS);
    let (mut day, ms) = (ms / DAY_MS, ms % DAY_MS);
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
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    Civil { year, month, day: day + 1, hour, minute, second: ms / 1000 % 60, ms: ms % 1000 }
}

/// `2026-11-28#20:05:13:042`, as Apache's tools write times.
pub fn text(ms: i64) -> String {
    let Civil { year, month, day, hour, minute, second, ms } = civil(ms);
    format!("{year}-{month:02}-{day:02}#{hour:02}:{minute:02}:{second:02}:{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        let check = |ms: i64, expected: &str| assert_eq!(text(ms), expected);
        check(0, "1970-01-01#00:00:00:000");
        check(951_782_400_007, "2000-02-29#00:00:00:007");
        check(951_868_799_999, "2000-02-29#23:59:59:999");
        check(1_709_251_199_000, "2024-02-29#23:59:59:000");
        check(1_709_251_200_000, "2024-03-01#00:00:00:000");
        check(1_767_225_599_000, "2025-12-31#23:59:59:000");
        check(4_107_542_400_000, "2100-03-01#00:00:00:000");
        check(i64::MAX, "9999-12-31#23:59:59:999");
        check(i64::MIN, "1970-01-01#00:00:00:000");
    }
}
