//! Colours, and their contrast with a page's background (WCAG 2.2, success criterion 1.4.3).

use std::fmt;

/// Colour of sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color([u8; 3]);

impl Color {
    /// Default accent of the page.
    pub const DEFAULT: Self = Self([0x0b, 0x6b, 0x53]);
    /// Backgrounds that an accent must contrast with: the darkest of the light page and the lightest of the dark one.
    pub const GROUNDS: [Self; 2] = [Self([0xfa, 0xf8, 0xf4]), Self([0x1a, 0x20, 0x1e])];

    /// Reads `#rgb` or `#rrggbb`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let wide = match digits.len() {
            3 => digits.chars().flat_map(|digit| [digit, digit]).collect(),
            6 => digits.to_owned(),
            _ => return None,
        };
        let number = u32::from_str_radix(&wide, 16).ok()?;
        let [_, red, green, blue] = number.to_be_bytes();
        Some(Self([red, green, blue]))
    }

    /// Returns the nearest colour, towards black or white, that can be read on a background: with a contrast of at
    /// least 4.5 to 1. A margin allows for slightly different backgrounds.
    #[must_use]
    pub fn readable_on(self, ground: Self) -> Self {
        let towards = if ground.luminance() > MIDDLE { 0.0 } else { 255.0 };
        let mixed = (0..=STEPS).map(|step| self.mixed(towards, f64::from(step) / f64::from(STEPS)));
        mixed.into_iter().find(|color| color.contrast(ground) >= ENOUGH).unwrap_or(self)
    }

    /// Returns the contrast: from 1 for the same colour to 21 for black and white.
    pub fn contrast(self, other: Self) -> f64 {
        let (one, other) = (self.luminance(), other.luminance());
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// Returns the relative luminance (<https://www.w3.org/TR/WCAG22/#dfn-relative-luminance>).
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of two bytes is one")]
    fn mixed(self, towards: f64, share: f64) -> Self {
        Self(self.0.map(|part| (f64::from(part) * (1.0 - share) + towards * share).round() as u8))
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// Least contrast of text, with a margin for slightly different backgrounds.
const ENOUGH: f64 = 5.2;
/// Luminance above which a background is light.
const MIDDLE: f64 = 0.18;
const STEPS: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accent_is_changed_until_it_can_be_read() {
        assert_eq!(Color::parse("#fc0").map(|color| color.to_string()).as_deref(), Some("#ffcc00"));
        for bad in ["fc0", "#fc", "#ffcc0", "#gggggg", "#é12", ""] {
            assert_eq!(Color::parse(bad), None, "{bad}");
        }
        assert!((Color::parse("#000").unwrap().contrast(Color::parse("#fff").unwrap()) - 21.0).abs() < 1e-9);
        for accent in ["#ffcc00", "#000", "#fff", "#808080", "#0b6b53", "#00f"] {
            for ground in Color::GROUNDS {
                let readable = Color::parse(accent).unwrap().readable_on(ground);
                assert!(readable.contrast(ground) >= 4.5, "{accent} on {ground}: {readable}");
            }
        }
        let dark = Color::parse("#0b6b53").unwrap();
        assert_eq!(dark.readable_on(Color::GROUNDS[0]), dark, "what can be read stays");
    }
}
