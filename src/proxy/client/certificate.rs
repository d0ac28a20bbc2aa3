//! Certificate of a client, described for the upstream: `X-Forwarded-Client-Cert`, as Envoy and Istio write it.
//!
//! The handshake has checked it. Nothing here decides anything.

use std::fmt::Write;

use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;

/// Describes a certificate: its SHA-256, its subject (RFC 4514), and its names.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> HeaderValue {
    let mut text = String::from("Hash=");
    for byte in Sha256::digest(certificate) {
        let _ = write!(text, "{byte:02x}");
    }
    if let Ok(parsed) = EndEntityCert::try_from(certificate) {
        let _ = write!(text, ";Subject=\"{}\"", subject(parsed.subject()));
        let names = parsed.valid_uri_names().map(|name| ("URI", name));
        for (kind, name) in names.chain(parsed.valid_dns_names().map(|name| ("DNS", name))).take(MOST_NAMES) {
            let _ = write!(text, ";{kind}={}", Value(name));
        }
    }
    // Everything that was written is visible ASCII.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Hash="))
}

/// Name that may be quoted. What would end it is written in percent, as URIs may.
struct Value<'n>(&'n str);

impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quotes = if self.0.contains([';', ',', '=']) { "\"" } else { "" };
        f.write_str(quotes)?;
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\\' | b' ' | 0..=0x1f | 0x7f.. => write!(f, "%{byte:02X}")?,
                _ => f.write_char(char::from(byte))?,
            }
        }
        f.write_str(quotes)
    }
}

/// Writes a subject as RFC 4514 has it, the last part first. What is not plain is written in hexadecimal, so that no
/// quote or backslash of a certificate can end the field.
fn subject(name: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut sets = Elements(name);
    for (_, set) in &mut sets {
        let attributes: Vec<String> = Elements(set).map(|(_, attribute)| self::attribute(attribute)).collect();
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

fn attribute(content: &[u8]) -> String {
    let mut elements = Elements(content);
    let (Some((_, kind)), Some((tag, value))) = (elements.next(), elements.next()) else { return String::new() };
    let known = KINDS.iter().find(|(encoded, _)| *encoded == kind).map(|(_, name)| (*name).to_owned());
    let mut text = known.unwrap_or_else(|| dotted(kind));
    text.push('=');
    let mut plain = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | '-' | '_' | '@' | '/' | ':' | '*' | '\'' | '(' | ')' => {
            text.push(character);
        }
        other => {
            for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    };
    match tag {
        BMP_STRING => {
            let units = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).for_each(|found| plain(found.unwrap_or(char::REPLACEMENT_CHARACTER)));
        }
        UTF8_STRING => String::from_utf8_lossy(value).chars().for_each(plain),
        // The other kinds are ASCII, or Latin-1 for whoever takes liberties.
        _ => value.iter().for_each(|byte| plain(char::from(*byte))),
    }
    text
}

/// Writes an object identifier with its numbers (X.690 section 8.19).
fn dotted(encoded: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for byte in encoded {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let first = numbers.first().copied().unwrap_or_default();
    let root = (first / 40).min(2);
    let rest = numbers.iter().skip(1).map(|number| format!(".{number}"));
    format!("{root}.{}", first - root * 40) + &rest.collect::<String>()
}

/// Iterator over the elements of a DER sequence, each with its tag and content (X.690). Ends at what is none.
struct Elements<'d>(&'d [u8]);

impl<'d> Iterator for Elements<'d> {
    type Item = (u8, &'d [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // A name is shorter than 64 KiB, because a certificate is.
            0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
            0x82 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

const UTF8_STRING: u8 = 0x0c;
const BMP_STRING: u8 = 0x1e;

/// Names of a certificate that are written. A field has a limit at every upstream.
const MOST_NAMES: usize = 16;

/// Kinds of attributes (RFC 4514 section 3), encoded.
const KINDS: [(&[u8], &str); 11] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_is_described_so_that_nothing_in_it_ends_the_field() {
        let mut params = CertificateParams::new(vec!["alice.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://example/a;b".try_into().unwrap()));
        let name = &mut params.distinguished_name;
        *name = rcgen::DistinguishedName::new();
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, DnValue::Utf8String("Müller, \"Söhne\"".to_owned()));
        name.push(DnType::CustomDnType(vec![1, 2, 840, 5]), "x\\y\r\n");
        name.push(DnType::CommonName, "alice");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let text = describe(certificate.der());
        let (hash, rest) = text.to_str().unwrap().split_once(';').unwrap();
        assert_eq!(hash.len(), "Hash=".len() + 64);
        let subject = r#"Subject="CN=alice,1.2.840.5=x\5Cy\0D\0A,O=M\C3\BCller\2C \22S\C3\B6hne\22,C=DE""#;
        assert_eq!(rest, format!("{subject};URI=\"spiffe://example/a;b\";DNS=alice.example"));
    }

    #[test]
    fn what_is_no_name_ends_nothing_but_itself() {
        for broken in [&[][..], &[0x31], &[0x31, 0x80], &[0x31, 0x82, 1], &[0x31, 5, 0x30, 3, 6, 1, 0x55]] {
            assert!(subject(broken).len() < 8);
        }
    }
}
