//! The two encryptions of a connection ID's server ID and nonce
//! (draft-ietf-quic-load-balancers-21, sections 5.4.1 and 5.4.2).

use std::fmt;

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

use super::Key;

/// Encrypts in place what follows the first octet: one AES block for 16 bytes, a Feistel network
/// of four passes for any other length from 5 to 19.
#[derive(Clone)]
pub(super) struct Cipher(Aes128);

impl Cipher {
    pub(super) fn new(key: &Key) -> Self {
        Self(Aes128::new(key.as_bytes().into()))
    }

    pub(super) fn encrypt(&self, text: &mut [u8]) {
        if let Ok(block) = <&mut [u8; BLOCK]>::try_from(&mut *text) {
            self.0.encrypt_block(block.into());
        } else {
            let mut halves = Halves::split(text);
            halves.right(self, 1);
            halves.left(self, 2);
            halves.right(self, 3);
            halves.left(self, 4);
            halves.join(text);
        }
    }

    pub(super) fn decrypt(&self, text: &mut [u8]) {
        if let Ok(block) = <&mut [u8; BLOCK]>::try_from(&mut *text) {
            self.0.decrypt_block(block.into());
        } else {
            let mut halves = Halves::split(text);
            halves.left(self, 4);
            halves.right(self, 3);
            halves.left(self, 2);
            halves.right(self, 1);
            halves.join(text);
        }
    }

    fn encrypt_word(&self, word: u128) -> u128 {
        let mut block = word.to_be_bytes().into();
        self.0.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(..)")
    }
}

/// The halves of the Feistel network, each in the most significant bytes of a word.
///
/// The masks keep the bits of each half. They also clear the four bits that an odd length leaves
/// unused, at the end of the left half and at the start of the right one.
struct Halves {
    left: u128,
    right: u128,
    left_mask: u128,
    right_mask: u128,
    /// The length in the fifteenth byte, as the draft's `expand` puts it.
    expansion: u128,
}

impl Halves {
    fn split(text: &[u8]) -> Self {
        let len = text.len();
        let half = len.div_ceil(2);
        let left_mask = u128::MAX << (128 - 4 * len);
        let right_mask = left_mask >> (8 * half - 4 * len);
        Self {
            left: word(&text[..half]) & left_mask,
            right: word(&text[len - half..]) & right_mask,
            left_mask,
            right_mask,
            expansion: (len as u128) << 8,
        }
    }

    fn left(&mut self, cipher: &Cipher, pass: u128) {
        let result = cipher.encrypt_word(self.right | self.expansion | pass);
        self.left ^= result & self.left_mask;
    }

    fn right(&mut self, cipher: &Cipher, pass: u128) {
        let result = cipher.encrypt_word(self.left | self.expansion | pass);
        self.right ^= result & self.right_mask;
    }

    /// Writes the halves over the text that they came from.
    fn join(&self, text: &mut [u8]) {
        let len = text.len();
        let half = len.div_ceil(2);
        text[..half].copy_from_slice(&self.left.to_be_bytes()[..half]);
        text[half..].fill(0);
        // In the middle byte of an odd length each half has four bits.
        for (byte, right) in text[len - half..].iter_mut().zip(self.right.to_be_bytes()) {
            *byte |= right;
        }
    }
}

/// Puts up to 16 bytes into the most significant bytes of a word.
fn word(bytes: &[u8]) -> u128 {
    let mut block = [0; BLOCK];
    block[..bytes.len()].copy_from_slice(bytes);
    u128::from_be_bytes(block)
}

const BLOCK: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_are_those_of_the_drafts_example() {
        let halves = Halves::split(&[0x70, 0x40, 0xb8, 0x1b, 0x55, 0xcc, 0xf3]);
        assert_eq!(halves.left, 0x7040_b810 << 96);
        assert_eq!(halves.right, 0x0b55_ccf3 << 96);
    }

    #[test]
    fn the_expansion_is_that_of_the_drafts_example() {
        let halves = Halves::split(&[0xaa, 0xba, 0x3c, 0, 0, 0]);
        let expanded = halves.left | halves.expansion | 2;
        assert_eq!(expanded, 0xaaba_3c00_0000_0000_0000_0000_0000_0602);
    }

    #[test]
    fn every_length_comes_back() {
        let cipher = Cipher::new(&Key::from_bytes([7; 16]));
        for len in 5..=19 {
            let text = (1..=len).collect::<Vec<u8>>();
            let mut work = text.clone();
            cipher.encrypt(&mut work);
            assert_ne!(work, text);
            cipher.decrypt(&mut work);
            assert_eq!(work, text);
        }
    }
}
