//! CRC-32 of content that is known in pieces (RFC 1952, 8). Owns how the sums of two pieces come to
//! that of both.
//!
//! # The arithmetic
//!
//! A CRC is a remainder in polynomials over GF(2), of which bits are the coefficients: what follows a
//! piece multiplies its sum by x for each bit. That power of x belongs to the piece that follows, so it
//! is computed once with the piece's own sum; to put two sums together is one multiplication then. The
//! library that sums bytes can put two sums together as well, but computes the power each time, which
//! costs a page of sixteen pieces more than all the rest of it.

/// The polynomial, lowest power in the highest bit (RFC 1952, 8).
const POLYNOMIAL: u32 = 0xedb8_8320;

/// x⁰.
const ONE: u32 = 1 << 31;

/// x, x², x⁴, … each the square of the one before. The powers repeat after 32 of these, as the
/// polynomial is primitive.
const SQUARES: [u32; 32] = squares();

/// What is known of some content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum {
    /// Its CRC-32.
    pub(super) crc: u32,
    /// Its length.
    pub(super) bytes: u64,
    /// By what the sum of what stands before it is multiplied.
    shift: u32,
}

impl Default for Sum {
    /// Of nothing.
    fn default() -> Self {
        Self {
            crc: 0,
            bytes: 0,
            shift: ONE,
        }
    }
}

impl Sum {
    /// Of this content.
    pub(super) fn of(content: &[u8]) -> Self {
        let bytes = content.len() as u64;
        Self {
            crc: crc32fast::hash(content),
            bytes,
            shift: power_of_bytes(bytes),
        }
    }

    /// With more content after it, of which nothing is known. What stands before both is of no
    /// interest from then on.
    pub(super) fn with(self, content: &[u8]) -> Self {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.crc);
        hasher.update(content);
        Self {
            crc: hasher.finalize(),
            bytes: self.bytes + content.len() as u64,
            shift: self.shift,
        }
    }

    /// With another piece after it. The same holds.
    pub(super) fn then(self, after: Self) -> Self {
        Self {
            crc: times(after.shift, self.crc) ^ after.crc,
            bytes: self.bytes + after.bytes,
            shift: self.shift,
        }
    }
}

/// x to the power of eight times this.
fn power_of_bytes(bytes: u64) -> u32 {
    let (mut power, mut left, mut square) = (ONE, bytes, 3);
    while left > 0 {
        if left & 1 == 1 {
            power = times(SQUARES[square % SQUARES.len()], power);
        }
        left >>= 1;
        square += 1;
    }
    power
}

/// The product of two remainders.
const fn times(a: u32, mut b: u32) -> u32 {
    let (mut product, mut left) = (0, a);
    while left != 0 {
        // without a branch: the bits of a sum are as good as random
        product ^= b & ((left >> 31).wrapping_neg());
        left <<= 1;
        b = (b >> 1) ^ (POLYNOMIAL & ((b & 1).wrapping_neg()));
    }
    product
}

const fn squares() -> [u32; 32] {
    let (mut squares, mut at) = ([ONE >> 1; 32], 1);
    while at < squares.len() {
        squares[at] = times(squares[at - 1], squares[at - 1]);
        at += 1;
    }
    squares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_sum_of_pieces_is_that_of_the_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..500), 0..10),
        ) {
            let whole = pieces.concat();
            let known = pieces.iter().map(|piece| Sum::of(piece));
            let known = known.fold(Sum::default(), Sum::then);
            let read = pieces.iter().fold(Sum::default(), |sum, piece| sum.with(piece));
            for sum in [known, read] {
                prop_assert_eq!(sum.crc, crc32fast::hash(&whole));
                prop_assert_eq!(sum.bytes, whole.len() as u64);
            }
        }

        #[test]
        fn it_agrees_with_the_librarys_own_way(first in any::<u32>(), second in any::<u32>(), bytes in any::<u64>()) {
            let mut library = crc32fast::Hasher::new_with_initial_len(first, 0);
            library.combine(&crc32fast::Hasher::new_with_initial_len(second, bytes));
            let after = Sum { crc: second, bytes, shift: power_of_bytes(bytes) };
            let own = times(after.shift, first) ^ after.crc;
            prop_assert_eq!(own, library.finalize());
        }
    }
}
