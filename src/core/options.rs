//! How options are named, written and bounded: for every table of them, and every way
//! to set them.

use crate::error::{Errno, Error, Result};

/// How the value of an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionType {
    /// A decimal number.
    Number,
    /// Bytes, with an optional unit.
    Size,
    /// One of the words, whose numbers go up from the option's `min` in this order.
    Choice(&'static [&'static str]),
    /// `any`, or the number of a processor, which stands for one more.
    Processor,
    /// `none`, or words joined by `+`: each is a bit, the first the lowest.
    Set(&'static [&'static str]),
}

/// One option of a `T`.
pub struct OptionInfo<T: 'static> {
    /// Its name everywhere: C, configuration, command line.
    pub key: &'static str,
    /// How its value is written.
    pub kind: OptionType,
    /// What 0 stands for.
    pub default: u64,
    /// Least value.
    pub min: u64,
    /// Greatest value.
    pub max: u64,
    /// One sentence.
    pub meaning: &'static str,
    pub(crate) field: fn(&mut T) -> &mut dyn Field,
}

/// Where the value of an option is kept. 0 is its default.
pub(crate) trait Field {
    fn get(&self) -> u64;
    fn set(&mut self, value: u64);
}

impl Field for u64 {
    fn get(&self) -> u64 {
        *self
    }

    fn set(&mut self, value: u64) {
        *self = value;
    }
}

/// One line of a table of options: its key is the name of its field.
macro_rules! option {
    ($key:ident, $kind:expr, $default:expr, $range:expr, $meaning:expr) => {
        crate::options::OptionInfo {
            key: stringify!($key),
            kind: $kind,
            default: $default,
            min: *$range.start(),
            max: *$range.end(),
            meaning: $meaning,
            field: |options| &mut options.$key,
        }
    };
}

pub(crate) use option;

use OptionType::{Choice, Number, Processor, Set, Size};

pub(crate) const BOOL: OptionType = Choice(&["false", "true"]);

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

impl<T> OptionInfo<T> {
    /// What it is set to; 0: its default.
    pub fn value(&self, options: &mut T) -> u64 {
        (self.field)(options).get()
    }

    /// The number of a choice's first word.
    fn first_word(&self) -> u64 {
        self.min
    }

    /// A value as a person reads it.
    pub fn text(&self, value: u64) -> String {
        match self.kind {
            Choice(words) => words[(value - self.first_word()) as usize].to_owned(),
            Number => value.to_string(),
            Size => size_text(value),
            Processor => match value.checked_sub(1) {
                None => "any".to_owned(),
                Some(processor) => processor.to_string(),
            },
            Set(words) => {
                let bits = words.iter().enumerate();
                let set = bits.filter(|(bit, _)| value & 1 << bit != 0);
                let set: Vec<&str> = set.map(|(_, word)| *word).collect();
                if set.is_empty() {
                    "none".to_owned()
                } else {
                    set.join("+")
                }
            }
        }
    }

    /// `LOW..HIGH`, or the words of a choice separated by `|`.
    pub fn range(&self) -> String {
        match self.kind {
            Choice(words) => words.join("|"),
            Processor => format!("any|0..{}", self.max - 1),
            Set(words) => format!("none|{}", words.join("+")),
            _ => format!("{}..{}", self.text(self.min), self.text(self.max)),
        }
    }

    /// The number that a text stands for; one that no field can hold is the
    /// largest, which is outside of every range.
    fn parse(&self, text: &str) -> Result<u64> {
        let parsed = match self.kind {
            Choice(words) => {
                let word = words.iter().position(|word| *word == text);
                word.map(|index| index as u64 + self.first_word())
            }
            Number => parse_number(text),
            Size => parse_size(text),
            Processor if text == "any" => Some(0),
            Processor => parse_number(text).map(|processor| processor.saturating_add(1)),
            Set(_) if text == "none" => Some(0),
            Set(words) => {
                let bit = |word| words.iter().position(|one| *one == word);
                let bits = text.split('+').map(|word| Some(1u64 << bit(word)?));
                bits.sum()
            }
        };
        parsed.ok_or_else(|| {
            let (key, range) = (self.key, self.range());
            Error::new(
                Errno::INVAL,
                format!("{key} is not one of {range}: \"{text}\""),
            )
        })
    }

    /// Refuses a value outside the range. 0 is the default, except in text.
    pub(crate) fn check(&self, value: u64) -> Result<()> {
        if value < self.min || value > self.max {
            let (key, range) = (self.key, self.range());
            let text = format!("{key} is outside {range}: {value}");
            return Err(Error::new(Errno::RANGE, text));
        }
        Ok(())
    }
}

/// The number that a text stands for, for the option of this name. Errors: ENOENT (no
/// such key), EINVAL (not a value), ERANGE (outside the range).
pub(crate) fn parse<'a, T>(
    table: &'a [OptionInfo<T>],
    key: &str,
    value: &str,
) -> Result<(&'a OptionInfo<T>, u64)> {
    let option = table
        .iter()
        .find(|option| option.key == key)
        .ok_or_else(|| Error::new(Errno::NOENT, format!("no option is named \"{key}\"")))?;
    let number = option.parse(value)?;
    option.check(number)?;
    Ok((option, number))
}

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];

/// The largest unit that leaves a whole number.
fn size_text(bytes: u64) -> String {
    for (unit, factor) in UNITS {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// Powers of 1024 under both spellings, as dd(1) and systemd take `K` and `M`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        _ => UNITS
            .iter()
            .find(|(name, _)| unit == *name || unit == &name[..1])
            .map(|(_, factor)| *factor)?,
    };
    Some(parse_number(number)?.saturating_mul(factor))
}

fn parse_number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units() {
        assert_eq!(parse_size("3"), Some(3));
        assert_eq!(parse_size("3K"), Some(3 << 10));
        assert_eq!(parse_size("3GiB"), Some(3 << 30));
        assert_eq!(parse_size("3GB"), None);
        assert_eq!(parse_size("-1"), None);
        assert_eq!(
            parse_size("99999999T"),
            Some(u64::MAX),
            "more than there is"
        );
        assert_eq!(parse_size("99999999999999999999"), Some(u64::MAX));
        assert_eq!(parse_size(""), None);
        assert_eq!(parse_size("+1"), None);
    }
}
