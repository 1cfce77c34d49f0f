//! The secret that the ranks of a job share.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// A secret of 128 bits that every rank of a job knows; without it nobody off the machine can join.
///
/// Written as 32 hexadecimal digits. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 16]);

impl Token {
    /// Reads 32 hexadecimal digits; blanks around them are allowed. Nothing when it is anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        if digits.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |index: usize| char::from(pair[index]).to_digit(16);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Some(Self(bytes))
    }

    /// A new token from the system's random numbers.
    ///
    /// # Errors
    /// When the system has none.
    pub fn generate() -> std::io::Result<Self> {
        random().map(Self)
    }

    /// The 32 hexadecimal digits, to hand them to another rank.
    pub fn to_hex(&self) -> String {
        use fmt::Write;
        self.0.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// Sixteen random bytes.
///
/// # Errors
/// When the system has none.
pub(super) fn random() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}

/// The key of a job: its token, or nothing on a machine of its own.
#[derive(Clone)]
pub(super) struct Key(Option<Token>);

impl Key {
    pub(super) fn new(token: Option<&Token>) -> Self {
        Self(token.cloned())
    }

    /// The code (HMAC-SHA256) of a message under the key. `role` sets the two directions and the session apart: no
    /// answer can be replayed as a question.
    pub(super) fn code(&self, role: &str, parts: &[&[u8]]) -> [u8; 32] {
        let key: &[u8] = self.0.as_ref().map_or(&[], |token| &token.0);
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("keys of any length are allowed");
        for part in [role.as_bytes()].iter().chain(parts) {
            mac.update(&(part.len() as u32).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Compares in a time that does not depend on where the bytes differ.
pub(super) fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_32_digits() {
        let token = Token::from_hex(" 00112233445566778899aabbccddEEff\n").unwrap();
        assert_eq!(token.to_hex(), "00112233445566778899aabbccddeeff");
        for wrong in ["", "00", "00112233445566778899aabbccddeef", "0011223344556677889-aabbccddeeff", "é"] {
            assert_eq!(Token::from_hex(wrong), None, "{wrong}");
        }
        let made = Token::generate().unwrap();
        assert_eq!(Token::from_hex(&made.to_hex()), Some(made.clone()));
        assert!(!format!("{made:?}").contains(&made.to_hex()));
    }

    #[test]
    fn codes_depend_on_key_role_and_the_borders_of_parts() {
        let token = Token::from_hex("000102030405060708090a0b0c0d0e0f").unwrap();
        let key = Key::new(Some(&token));
        let code = key.code("worker", &[b"ab", b"c"]);
        assert!(same(&code, &key.code("worker", &[b"ab", b"c"])));
        assert!(!same(&code, &key.code("worker", &[b"a", b"bc"])));
        assert!(!same(&code, &key.code("coordinator", &[b"ab", b"c"])));
        assert!(!same(&code, &Key::new(None).code("worker", &[b"ab", b"c"])));
        assert!(!same(&code, &code[..31]));
    }
}
