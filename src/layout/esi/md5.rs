//! The digest of `digest_md5_hex` (RFC 1321). Pages make keys and addresses of it, which must be the ones
//! that they were; it protects nothing.

/// How far each step of a round turns a word.
const TURNS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// The digest in hexadecimal digits.
pub(super) fn of(text: &[u8]) -> String {
    let mut padded = text.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    let bits = (text.len() as u64).wrapping_mul(8);
    padded.extend_from_slice(&bits.to_le_bytes());
    let sines = sines();
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.as_chunks::<64>().0 {
        let turned = turn(state, block, &sines);
        for (word, more) in state.iter_mut().zip(turned) {
            *word = word.wrapping_add(more);
        }
    }
    let bytes = state.iter().flat_map(|word| word.to_le_bytes());
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// `2^32 * |sin(i)|`, in whole numbers (RFC 1321, 3.4).
fn sines() -> [u32; 64] {
    std::array::from_fn(|index| {
        let sine = (index as f64 + 1.0).sin().abs();
        (sine * 4_294_967_296.0) as u32
    })
}

fn turn(state: [u32; 4], block: &[u8; 64], sines: &[u32; 64]) -> [u32; 4] {
    let words: Vec<u32> = block
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    let [mut a, mut b, mut c, mut d] = state;
    for (step, sine) in sines.iter().enumerate() {
        let (mixed, word) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let sum = a
            .wrapping_add(mixed)
            .wrapping_add(*sine)
            .wrapping_add(words[word % 16]);
        (a, d, c) = (d, c, b);
        b = b.wrapping_add(sum.rotate_left(TURNS[step / 16][step % 4]));
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn the_examples_of_rfc_1321() {
        for (text, digest) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(of(text.as_bytes()), digest, "{text}");
        }
    }
}
