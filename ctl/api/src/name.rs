//! Names of nouns, and what is shown of text that others made.
//!
//! A name is any text of the world's scripts that can be read, told apart from words of verbs, and typed: no white space, nothing
//! that a terminal obeys or that cannot be seen. Letters that look alike (a Cyrillic `а` for a Latin `a`) are not refused: which of
//! them are confused depends on the reader and the font; names are compared byte by byte, not normalised.

use std::{borrow::Cow, fmt::Write};

use unicode_width::UnicodeWidthChar;

/// Longest name, bytes: as long as a DNS name, which names in Kubernetes are.
pub const LEN_MAX: usize = 253;
/// Marks on one letter: no script has more, and a pile of them covers lines above.
const MARKS_MAX: usize = 4;

/// Words that verbs know beside the names of ports and endpoints (`weftctl capture any`), or may come to know.
const RESERVED: [&str; 3] = ["all", "any", "drops"];
/// What stands before another node's name, where it is one of several nouns (`weftctl trace --from peer:b`).
pub const PEER: &str = "peer:";

/// Why a text can't be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("a name can't be empty")]
    Empty,
    /// It is too long.
    #[error("a name of {0} bytes can't be: {LEN_MAX} are the most")]
    TooLong(usize),
    /// A character that no name has.
    #[error("{text} can't be a name: U+{:04X} {why}", u32::from(*.character))]
    Character {
        /// The name, made visible.
        text: String,
        /// Which one.
        character: char,
        /// What it is or does.
        why: &'static str,
    },
    /// It would be taken for an option or a word of a verb.
    #[error("{text} can't be a name: {why}")]
    Word {
        /// The name.
        text: String,
        /// What it would be taken for.
        why: &'static str,
    },
}

/// Checks a noun's name.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > LEN_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    let refused = |character, why| NameError::Character { text: quoted(name), character, why };
    let mut marks = MARKS_MAX; // none to begin with: it would sit on what stands before the name
    for character in name.chars() {
        if let Some(why) = why_not(character) {
            return Err(refused(character, why));
        }
        marks = if character.width() == Some(0) { marks + 1 } else { 0 };
        if marks > MARKS_MAX {
            return Err(refused(character, "is a mark without a letter, or one too many on it"));
        }
    }
    let word = |why| Err(NameError::Word { text: quoted(name), why });
    if name.starts_with('-') {
        return word("it begins like an option");
    }
    if name.starts_with(PEER) {
        return word("`peer:` stands before the name of another node");
    }
    Ok(())
}

/// Checks the name of what verbs take beside words of their own: a port's, an endpoint's, a network's, a peer's.
pub fn check_beside_words(name: &str) -> Result<(), NameError> {
    check(name)?;
    if RESERVED.contains(&name) {
        return Err(NameError::Word { text: quoted(name), why: "it is a word of weftctl's verbs" });
    }
    Ok(())
}

/// Checks text that leads somewhere else (a device, a namespace): white space apart, the same characters.
pub fn check_characters(text: &str) -> Result<(), NameError> {
    let hidden = |character: &char| is_hidden(*character);
    let refused = |character| NameError::Character {
        text: quoted(text),
        character,
        why: why_not(character).unwrap_or_default(),
    };
    text.chars().find(hidden).map_or(Ok(()), |character| Err(refused(character)))
}

/// Text that others made, fit for a terminal or a log: what would be obeyed, or not be seen, is written as `\u{202e}`. Line ends and
/// tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| is_hidden(c) && !matches!(c, '\n' | '\t');
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_bad(c) {
            let _ = write!(shown, "{}", c.escape_unicode()); // a String takes all
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", visible(text).replace('\n', "\\n").replace('\t', "\\t"))
}

fn is_hidden(c: char) -> bool {
    why_not(c).is_some_and(|why| why != SPACE)
}

const SPACE: &str = "is white space";

/// What is wrong with a character in a name.
fn why_not(c: char) -> Option<&'static str> {
    match c {
        _ if c.is_control() => Some("is a control character"),
        // White space that is not called so: braille without dots, the Hangul fillers.
        _ if c.is_whitespace() => Some(SPACE),
        '\u{2800}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => Some(SPACE),
        // Bidirectional formatting (UAX #9, 2).
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            Some("turns text around")
        }
        _ if is_invisible(c) => Some("can't be seen"),
        // Noncharacters (Unicode 23.7); private use (23.5).
        '\u{fdd0}'..='\u{fdef}' => Some("is no character"),
        _ if u32::from(c) & 0xfffe == 0xfffe => Some("is no character"),
        '\u{e000}'..='\u{f8ff}' | '\u{f_0000}'.. => Some("means nothing to others (private use)"),
        _ => None,
    }
}

/// Format characters (general category Cf) and what is ignored by default (Default_Ignorable_Code_Point, DerivedCoreProperties.txt).
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e_0000}'..='\u{e_0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_scripts_are_names() {
        let longest = "x".repeat(LEN_MAX);
        let names = [
            "web-1",
            "default/web-1",
            "añ",
            "an\u{303}",
            "Ветер",
            "東京",
            "שלום",
            "नमस्ते",
            "a\"b\\c",
            "{a=\"b\"}",
            "@all",
            "$(id)`id`;",
            "a/../../etc",
            "anyone",
            "drops2",
            "peers",
            "🚢",
            &longest,
        ];
        for name in names {
            assert_eq!(check_beside_words(name), Ok(()), "{name}");
        }
        assert_eq!(check("all"), Ok(()), "no verb takes rules beside words");
    }

    #[test]
    fn what_can_not_be_read_or_typed_is_none_and_the_code_point_is_said() {
        for (name, says) in [
            ("", "empty"),
            (" a", "U+0020 is white space"),
            ("a ", "U+0020"),
            ("a\u{a0}b", "U+00A0 is white space"),
            ("a\u{2028}b", "U+2028"),
            ("\u{2800}", "U+2800 is white space"),
            ("a\nb", "\"a\\nb\" can't be a name: U+000A is a control character"),
            ("a\u{1b}[31mred", "\"a\\u{1b}[31mred\" can't be a name: U+001B"),
            ("a\u{9b}31m", "U+009B is a control character"),
            ("\u{202e}txt.exe", "\"\\u{202e}txt.exe\" can't be a name: U+202E turns text around"),
            ("a\u{2066}b", "U+2066 turns"),
            ("zero\u{200b}width", "U+200B can't be seen"),
            ("zero\u{200d}joined", "U+200D can't be seen"),
            ("a\u{feff}", "U+FEFF can't be seen"),
            ("a\u{ad}b", "U+00AD can't be seen"),
            ("a\u{fe0f}", "U+FE0F can't be seen"),
            ("a\u{e0041}", "U+E0041 can't be seen"),
            ("a\u{fdd0}", "U+FDD0 is no character"),
            ("a\u{1fffe}", "U+1FFFE is no character"),
            ("a\u{e000}", "U+E000 means nothing"),
            ("\u{301}a", "U+0301 is a mark without a letter"),
            ("\u{301}", "U+0301"),
            ("z\u{301}\u{301}\u{301}\u{301}\u{301}", "one too many"),
            ("-", "begins like an option"),
            ("-x", "begins like an option"),
            ("--force", "begins like an option"),
            ("peer:b", "stands before the name of another node"),
            ("any", "a word of weftctl's verbs"),
            ("drops", "a word of weftctl's verbs"),
            ("all", "a word of weftctl's verbs"),
        ] {
            let error = check_beside_words(name).expect_err("refused").to_string();
            assert!(error.contains(says), "{name:?}: {error}");
            assert!(!error.contains(|c: char| c.is_control()), "{error:?}");
        }
        assert_eq!(check(&"x".repeat(254)), Err(NameError::TooLong(254)));
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(visible("a\u{1b}[2J\u{202e}b\u{7f}\r"), "a\\u{1b}[2J\\u{202e}b\\u{7f}\\u{d}");
        assert_eq!(visible("a\tb c\u{a0}d\n"), "a\tb c\u{a0}d\n");
        assert!(check_characters("/run/my netns/ä").is_ok());
        assert!(check_characters("a\u{202e}").is_err_and(|error| error.to_string().contains("U+202E")));
    }
}
