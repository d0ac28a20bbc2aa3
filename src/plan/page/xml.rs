//! Reader of XML (<https://www.w3.org/TR/xml/>): says whether a document is well-formed, and what is in it. It knows no
//! document types, and no entities but the five that every reader knows.

/// Element of a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub name: String,
    /// Text between the tags, without that of the children.
    pub text: String,
    pub children: Vec<Self>,
}

/// Reads a document, and returns its root.
///
/// # Errors
/// If it is not well-formed: the byte at which that shows, and what is wrong.
pub(super) fn read(text: &str) -> Result<Element, (usize, String)> {
    let mut reader = Reader { text, at: 0 };
    reader.document().map_err(|why| (reader.at, why))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Element, String> {
        // The elements that are open; the first one holds the root.
        let mut open = vec![Element::default()];
        while self.at < self.text.len() {
            if self.takes("<?") {
                self.until("?>")?;
            } else if self.takes("<!--") {
                if self.until("--")?.contains('<') || !self.takes(">") {
                    return Err("a comment has `<` or `--` in it".to_owned());
                }
            } else if self.takes("<![CDATA[") {
                let text = self.until("]]>")?.to_owned();
                add_text(&mut open, &text)?;
            } else if self.takes("<!") {
                return Err("a document type has no place here: many programs refuse it".to_owned());
            } else if self.takes("</") {
                self.close(&mut open)?;
            } else if self.takes("<") {
                self.open(&mut open)?;
            } else {
                let text = self.content()?;
                add_text(&mut open, &text)?;
            }
            if open.len() > DEEPEST {
                return Err(format!("elements are nested more than {DEEPEST} deep"));
            }
        }
        match open.as_mut_slice() {
            [root] => root.children.pop().ok_or_else(|| "there is no element".to_owned()),
            [.., unclosed] => Err(format!("<{}> is never closed", unclosed.name)),
            [] => Err("there is no element".to_owned()),
        }
    }

    /// Reads a tag after its `<`.
    fn open(&mut self, open: &mut Vec<Element>) -> Result<(), String> {
        let element = Element { name: self.name()?.to_owned(), ..Element::default() };
        let mut names = Vec::new();
        loop {
            let spaced = self.spaces();
            if self.takes("/>") || self.takes(">") {
                break;
            }
            let name = self.name()?;
            if !spaced || names.contains(&name) {
                return Err(format!("the attribute {name} of <{}> is written twice, or without a space", element.name));
            }
            names.push(name);
            self.attribute(name)?;
        }
        if let [root] = open.as_slice()
            && !root.children.is_empty()
        {
            return Err(format!("<{}> follows the end of the document", element.name));
        }
        if self.text[..self.at].ends_with("/>") {
            add_child(open, element);
        } else {
            open.push(element);
        }
        Ok(())
    }

    fn attribute(&mut self, name: &str) -> Result<(), String> {
        self.spaces();
        let quoted = self.takes("=") && {
            self.spaces();
            true
        };
        let quote = ["\"", "'"].into_iter().find(|quote| self.takes(quote)).filter(|_| quoted);
        let quote = quote.ok_or_else(|| format!("the attribute {name} has no quoted value"))?;
        let value = self.until(quote)?;
        if value.contains('<') {
            return Err(format!("the attribute {name} has `<` in it"));
        }
        unescaped(value).map(drop)
    }

    /// Reads an end tag after its `</`.
    fn close(&mut self, open: &mut Vec<Element>) -> Result<(), String> {
        let name = self.name()?;
        self.spaces();
        let closed = open.pop().filter(|element| !open.is_empty() && element.name == name && self.takes(">"));
        let closed = closed.ok_or_else(|| format!("</{name}> closes nothing"))?;
        add_child(open, closed);
        Ok(())
    }

    /// Reads a text up to the next tag.
    fn content(&mut self) -> Result<String, String> {
        let rest = &self.text[self.at..];
        let text = &rest[..rest.find('<').unwrap_or(rest.len())];
        let content = unescaped(text)?;
        if text.contains("]]>") {
            return Err("a text has `]]>` in it".to_owned());
        }
        self.at += text.len();
        Ok(content)
    }

    fn name(&mut self) -> Result<&'t str, String> {
        let rest = &self.text[self.at..];
        let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '-' | '.');
        let name = &rest[..rest.find(|c| !part(c)).unwrap_or(rest.len())];
        if !name.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | ':')) {
            return Err("`<` does not begin a tag: in a text it is written `&lt;`".to_owned());
        }
        self.at += name.len();
        Ok(name)
    }

    /// Passes over white space, and returns true if there was any.
    fn spaces(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let spaces = rest.len() - rest.trim_start_matches(WHITE).len();
        self.at += spaces;
        spaces > 0
    }

    fn takes(&mut self, word: &str) -> bool {
        let taken = self.text[self.at..].starts_with(word);
        self.at += if taken { word.len() } else { 0 };
        taken
    }

    /// Takes everything up to a word, and the word.
    fn until(&mut self, word: &str) -> Result<&'t str, String> {
        let rest = &self.text[self.at..];
        let length = rest.find(word).ok_or_else(|| format!("`{word}` is missing"))?;
        self.at += length + word.len();
        Ok(&rest[..length])
    }
}

fn add_child(open: &mut [Element], child: Element) {
    if let Some(parent) = open.last_mut() {
        parent.children.push(child);
    }
}

fn add_text(open: &mut [Element], text: &str) -> Result<(), String> {
    match open {
        [_] if !text.trim_matches(WHITE).is_empty() => {
            Err("a text stands outside of the document's element".to_owned())
        }
        [.., inner] => {
            inner.text.push_str(text);
            Ok(())
        }
        [] => Ok(()),
    }
}

/// Replaces the references in a text.
fn unescaped(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let (reference, behind) = after.split_once(';').unwrap_or((after, ""));
        let known = NAMED.iter().find(|(name, _)| *name == reference).map(|(_, character)| *character);
        let character = known.or_else(|| numbered(reference)).filter(|_| after.contains(';'));
        plain.push(character.ok_or("`&` begins no reference: in a text it is written `&amp;`")?);
        rest = behind;
    }
    plain.push_str(rest);
    match plain.chars().find(|c| c.is_control() && u32::from(*c) < 0x20 && !WHITE.contains(c)) {
        Some(control) => Err(format!("a text has the control character U+{:04X}", u32::from(control))),
        None => Ok(plain),
    }
}

/// Reads `#60` or `#x3c`.
fn numbered(reference: &str) -> Option<char> {
    let number = reference.strip_prefix('#')?;
    let code = match number.strip_prefix('x') {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None => number.parse(),
    };
    char::from_u32(code.ok()?)
}

const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];
const NAMED: [(&str, char); 5] = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\'')];
const DEEPEST: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_is_read_as_it_is_meant() {
        let document = "<?xml version=\"1.0\"?>\n<!-- a -->\n<a x=\"1\" y = 'z&lt;'>b &amp; &#60;&#x3E;<c/><d >e</d\n>\
                        <![CDATA[<&]]></a>\n";
        let child = |name: &str, text: &str| Element { name: name.to_owned(), text: text.to_owned(), children: vec![] };
        let expected = Element { children: vec![child("c", ""), child("d", "e")], ..child("a", "b & <><&") };
        assert_eq!(read(document), Ok(expected));
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for (text, at, why) in [
            ("", 0, "no element"),
            ("<a>", 3, "<a> is never closed"),
            ("<a></b>", 6, "</b> closes nothing"),
            ("</a>", 3, "closes nothing"),
            ("<a/><b/>", 8, "follows the end"),
            ("x<a/>", 1, "outside"),
            ("<a/>x", 5, "outside"),
            ("<a>1 < 2</a>", 6, "`&lt;`"),
            ("<a>R & D</a>", 3, "`&amp;`"),
            ("<a>&nbsp;</a>", 3, "`&amp;`"),
            ("<a>]]></a>", 3, "`]]>`"),
            ("<a>\u{b}</a>", 3, "U+000B"),
            ("<a b/>", 4, "no quoted value"),
            ("<a b=c/>", 5, "no quoted value"),
            ("<a b=\"<\"/>", 8, "has `<`"),
            ("<a b=\"\" b=\"\"/>", 9, "twice"),
            ("<a b=\"/>", 6, "missing"),
            ("<!DOCTYPE a><a/>", 2, "document type"),
            ("<!-- -- --><a/>", 7, "comment"),
        ] {
            let (found, said) = read(text).unwrap_err();
            assert_eq!((found, said.contains(why)), (at, true), "{text}: {said}");
        }
        let deep = "<a>".repeat(100) + &"</a>".repeat(100);
        assert!(read(&deep).unwrap_err().1.contains("deep"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([<>/&;!?'\"= a-c#-]|\\[CDATA\\[|\\]\\]>|--)*") {
            if let Err((at, _)) = read(&text) {
                prop_assert!(at <= text.len());
            }
        }
    }
}
