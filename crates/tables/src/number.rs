//! Decimal numbers as DynamoDB has them: 38 digits, magnitudes from 1e-130 to 9.99…e125.

use std::{cmp::Ordering, fmt, str::FromStr};

/// Most significant digits.
const DIGITS_MAX: u32 = 38;
/// Power of ten of the first digit.
const POWERS: std::ops::RangeInclusive<i64> = -130..=125;

/// `mantissa × 10^exponent`. The mantissa does not end with a zero, so equal numbers are equal structs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number {
    mantissa: i128,
    exponent: i32,
}

impl Number {
    /// Zero.
    pub const ZERO: Self = Self { mantissa: 0, exponent: 0 };

    /// The sum, or why there is none.
    pub fn plus(self, other: Self) -> Result<Self, String> {
        let (high, low) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        if low.mantissa == 0 {
            return Ok(high);
        }
        if high.mantissa == 0 {
            return Ok(low);
        }
        let shift = u32::try_from(high.exponent - low.exponent).unwrap_or(u32::MAX);
        // A sum that does not fit has a last digit that is not zero, far below its first.
        let sum = 10_i128
            .checked_pow(shift)
            .and_then(|power| high.mantissa.checked_mul(power))
            .and_then(|high| high.checked_add(low.mantissa));
        Self::new(sum.ok_or_else(too_precise)?, low.exponent.into())
    }

    /// The difference, or why there is none.
    pub fn minus(self, other: Self) -> Result<Self, String> {
        self.plus(Self { mantissa: -other.mantissa, ..other })
    }

    /// The number as whole seconds, say; `None` when it is out of range.
    pub fn to_i64(self) -> Option<i64> {
        let value = match u32::try_from(self.exponent) {
            Ok(power) => self.mantissa.checked_mul(10_i128.checked_pow(power)?)?,
            Err(_) => self.mantissa / 10_i128.checked_pow(self.exponent.unsigned_abs())?,
        };
        i64::try_from(value).ok()
    }

    /// Bytes that sort as the numbers do. None of them is the beginning of another.
    pub fn sortable(self) -> Vec<u8> {
        if self.mantissa == 0 {
            return vec![0x80];
        }
        let digits = self.mantissa.unsigned_abs().to_string();
        let mut bytes = vec![u8::try_from(self.power() - POWERS.start()).unwrap_or(u8::MAX)];
        bytes.extend(digits.as_bytes().chunks(2).map(|pair| {
            let (tens, ones) = (pair[0] - b'0', pair.get(1).map_or(0, |digit| digit - b'0'));
            tens * 10 + ones + 1
        }));
        bytes.push(0);
        if self.mantissa > 0 {
            [&[0x81], &bytes[..]].concat()
        } else {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
            [&[0x7f], &bytes[..]].concat()
        }
    }

    /// Bytes that DynamoDB counts for it.
    pub fn size(self) -> usize {
        let digits = if self.mantissa == 0 { 0 } else { digits(self.mantissa) as usize };
        digits.div_ceil(2) + 1 + usize::from(self.mantissa < 0)
    }

    /// Power of ten of the first digit.
    fn power(self) -> i64 {
        i64::from(digits(self.mantissa)) - 1 + i64::from(self.exponent)
    }

    fn new(mut mantissa: i128, mut exponent: i64) -> Result<Self, String> {
        if mantissa == 0 {
            return Ok(Self::ZERO);
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        if digits(mantissa) > DIGITS_MAX {
            return Err(too_precise());
        }
        let power = i64::from(digits(mantissa)) - 1 + exponent;
        if power > *POWERS.end() {
            return Err(
                "Number overflow. Attempting to store a number with magnitude larger than supported range".into()
            );
        }
        if power < *POWERS.start() {
            return Err(
                "Number underflow. Attempting to store a number with magnitude smaller than supported range".into()
            );
        }
        Ok(Self { mantissa, exponent: i32::try_from(exponent).map_err(|_| too_precise())? })
    }
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            let text: String = text.chars().take(200).collect();
            format!("The parameter cannot be converted to a numeric value: {text}")
        };
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (figures, power) = match rest.split_once(['e', 'E']) {
            None => (rest, 0),
            Some((figures, power)) => {
                let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(refused());
                }
                // Where it does not fit, the number is out of range either way.
                let size = digits.parse::<i32>().map_or(i64::from(i32::MAX), i64::from);
                (figures, if power.starts_with('-') { -size } else { size })
            }
        };
        let (whole, fraction) = figures.split_once('.').unwrap_or((figures, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        if all().next().is_none() || !all().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        let places = i64::try_from(fraction.len()).map_err(|_| refused())?;
        let zeros = all().rev().take_while(|byte| *byte == b'0').count();
        let significant: Vec<u8> =
            all().take(whole.len() + fraction.len() - zeros).skip_while(|byte| *byte == b'0').collect();
        if significant.len() > DIGITS_MAX as usize {
            return Err(too_precise());
        }
        let size = significant.iter().fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        let mantissa = if negative { -size } else { size };
        Self::new(mantissa, power - places + i64::try_from(zeros).map_err(|_| refused())?)
    }
}

/// Without an exponent as long as that takes no more than 38 digits.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mantissa < 0 {
            f.write_str("-")?;
        }
        let digits = self.mantissa.unsigned_abs().to_string();
        let point = self.power() + 1; // the place of the decimal point among the digits
        match (self.exponent, usize::try_from(point)) {
            _ if self.mantissa == 0 => f.write_str("0"),
            (0.., Ok(length)) if length <= DIGITS_MAX as usize => write!(f, "{digits:0<length$}"),
            (..0, Ok(point @ 1..)) => write!(f, "{}.{}", &digits[..point], &digits[point..]),
            (..0, _) if self.exponent >= -(DIGITS_MAX as i32) => {
                write!(f, "0.{digits:0>width$}", width = self.exponent.unsigned_abs() as usize)
            }
            _ => {
                let (first, rest) = digits.split_at(1);
                write!(f, "{first}{}{rest}E{:+}", if rest.is_empty() { "" } else { "." }, self.power())
            }
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.mantissa.signum().cmp(&other.mantissa.signum());
        if signs.is_ne() || self.mantissa == 0 {
            return signs;
        }
        let aligned =
            |number: &Self| number.mantissa.unsigned_abs() * 10_u128.pow(DIGITS_MAX - digits(number.mantissa));
        let sizes = self.power().cmp(&other.power()).then_with(|| aligned(self).cmp(&aligned(other)));
        if self.mantissa < 0 { sizes.reverse() } else { sizes }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn digits(mantissa: i128) -> u32 {
    mantissa.unsigned_abs().checked_ilog10().unwrap_or(0) + 1
}

fn too_precise() -> String {
    "Attempting to store more than 38 significant digits in a Number".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_are_read_and_written() {
        for (text, written) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("007", "7"),
            ("+1.50", "1.5"),
            ("-12.5e1", "-125"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e37", "10000000000000000000000000000000000000"),
            ("1e100", "1E+100"),
            ("-1.25E-100", "-1.25E-100"),
            ("0.001", "0.001"),
            ("0e999999999999", "0"),
            ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
            ("9.9999999999999999999999999999999999999e125", "9.9999999999999999999999999999999999999E+125"),
            ("1e-130", "1E-130"),
        ] {
            assert_eq!(number(text).to_string(), written);
            assert_eq!(number(written), number(text));
        }
        for bad in ["", "-", ".", "e1", "1e", "1e+", "1 ", "0x1", "NaN", "1e1.5", "١", "--1", "1_0", "Infinity"] {
            assert!(bad.parse::<Number>().unwrap_err().starts_with("The parameter cannot be converted"), "{bad}");
        }
        for (bad, why) in [
            ("1e126", "overflow"),
            ("-1e9999999999999999999", "overflow"),
            ("1e-131", "underflow"),
            ("123456789012345678901234567890123456789", "more than 38"),
        ] {
            assert!(bad.parse::<Number>().unwrap_err().contains(why), "{bad}");
        }
    }

    #[test]
    fn numbers_and_their_bytes_sort_alike() {
        let sorted = [
            "-9e125", "-1e38", "-101", "-100.5", "-100", "-99", "-10", "-1.01", "-1", "-0.5", "-1e-130", "0", "1e-130",
            "0.05", "0.5", "1", "1.01", "1.1", "2", "9", "10", "12", "99", "100", "100.5", "101", "1e38", "9e125",
        ];
        for pair in sorted.windows(2) {
            let (small, large) = (number(pair[0]), number(pair[1]));
            assert!(small < large, "{pair:?}");
            assert!(small.sortable() < large.sortable(), "{pair:?}");
            assert!(
                !large.sortable().starts_with(&small.sortable()) && !small.sortable().starts_with(&large.sortable())
            );
        }
    }

    #[test]
    fn sums_are_exact_or_refused() {
        for (a, b, sum) in [
            ("0.1", "0.2", "0.3"),
            ("1", "-1", "0"),
            ("99999999999999999999999999999999999999", "1", "1E+38"),
            ("1e20", "1e-17", "100000000000000000000.00000000000000001"),
            ("1e125", "0", "1E+125"),
        ] {
            assert_eq!(number(a).plus(number(b)).unwrap(), number(sum));
            assert_eq!(number(sum).minus(number(b)).unwrap(), number(a));
        }
        assert!(number("1e38").plus(number("0.1")).is_err());
        assert!(number("1e125").plus(number("1e-130")).is_err());
        assert!(number("9e125").plus(number("9e125")).is_err());
        assert_eq!(
            (number("1e3").to_i64(), number("-1.9").to_i64(), number("1e19").to_i64()),
            (Some(1000), Some(-1), None)
        );
    }
}
