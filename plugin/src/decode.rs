//! Which instructions of x86-64 need no looking at. Document: Intel SDM vol. 2, appendix A (opcode maps).
//!
//! What is not known for sure is looked at: a wrong "no" here would lose a store.

/// The parts of an instruction that tell what it does.
struct Parts<'a> {
    rex: u8,
    code: &'a [u8],
}

/// `REX.B`: the base is one of the extended registers.
const BASE: u8 = 1;

fn parts(mut code: &[u8]) -> Parts<'_> {
    let mut rex = 0;
    while let [first, rest @ ..] = code {
        match first {
            0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3 => rex = 0,
            0x40..=0x4f => rex = *first,
            _ => break,
        }
        code = rest;
    }
    Parts { rex, code }
}

/// Whether an instruction surely stores nothing. QEMU 7.2 tells loads where it was asked for stores, and
/// there are more of them.
pub fn stores_nothing(code: &[u8]) -> bool {
    let Parts { code, .. } = parts(code);
    let [op, rest @ ..] = code else { return false };
    let next = rest.first().copied().unwrap_or(0);
    let (in_register, group) = (next >> 6 == 3, (next >> 3) & 7);
    match op {
        // The arithmetic that has a register or the accumulator as its target: op r, r/m; op a, imm.
        0x00..=0x3f if op & 7 < 6 => op & 7 > 1 || *op >= 0x38 || in_register,
        // Short jumps, and moves of immediates to registers.
        0x70..=0x7f | 0xe9 | 0xeb | 0xb0..=0xbf => true,
        // pop, movsxd, test, lea, mov r, r/m, ret.
        0x58..=0x5f | 0x63 | 0x84 | 0x85 | 0x8a | 0x8b | 0x8d | 0xc3 => true,
        // mov r/m, r.
        0x88 | 0x89 => in_register,
        0x80 | 0x81 | 0x83 => group == 7 || in_register,
        0xf6 | 0xf7 => group < 2 || in_register,
        // Wide loads, conditional moves and jumps, imul, movzx, movsx.
        0x0f => {
            matches!(next, 0x10 | 0x28 | 0x40..=0x4f | 0x6f | 0x80..=0x8f | 0xaf | 0xb6 | 0xb7 | 0xbe | 0xbf)
        }
        _ => false,
    }
}

/// Whether an instruction stores at the stack pointer only: push, call. A kernel's stacks are in no disk's way.
pub fn only_pushes(code: &[u8]) -> bool {
    let Parts { rex, code } = parts(code);
    match code {
        [0xe8 | 0x50..=0x57 | 0x68 | 0x6a, ..] => true,
        [0xff, modrm, ..] => matches!((modrm >> 3) & 7, 2 | 6),
        // mov [rsp + x + …], …: the base is rsp, and not r12.
        [0x88 | 0x89 | 0xc6 | 0xc7, modrm, sib, ..] => {
            modrm >> 6 != 3 && modrm & 7 == 4 && sib & 7 == 4 && rex & BASE == 0
        }
        _ => false,
    }
}

/// Whether it changes what addresses mean: invlpg, invpcid, mov to a control register.
pub fn changes_addresses(code: &[u8]) -> bool {
    match parts(code).code {
        [0x0f, 0x22, ..] | [0x0f, 0x38, 0x82, ..] => true,
        [0x0f, 0x01, modrm, ..] => (modrm >> 3) & 7 == 7 && modrm >> 6 != 3,
        _ => false,
    }
}

/// Whether it stores again and again by itself: movs, stos, with a repeat prefix.
pub fn repeats(code: &[u8]) -> bool {
    let prefixes = code.len() - parts(code).code.len();
    let has_rep = code.iter().take(prefixes).any(|byte| matches!(byte, 0xf2 | 0xf3));
    has_rep && matches!(parts(code).code, [0xa4 | 0xa5 | 0xaa | 0xab, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_told_from_stores() {
        let loads: &[&[u8]] = &[
            &[0x48, 0x8b, 0x07],             // mov rax, [rdi]
            &[0x65, 0x48, 0x8b, 0x04, 0x25], // mov rax, gs:…
            &[0x48, 0x03, 0x07],             // add rax, [rdi]
            &[0x39, 0x07],                   // cmp [rdi], eax
            &[0x48, 0x83, 0x3f, 0x00],       // cmp [rdi], 0
            &[0x48, 0x89, 0xc7],             // mov rdi, rax
            &[0xf3, 0x0f, 0x6f, 0x07],       // movdqu xmm0, [rdi]
            &[0x0f, 0xb6, 0x07],             // movzx eax, [rdi]
            &[0xc3],
        ];
        for code in loads {
            assert!(stores_nothing(code), "{code:x?}");
        }
        let stores: &[&[u8]] = &[
            &[0x48, 0x89, 0x07],             // mov [rdi], rax
            &[0xf0, 0x48, 0x01, 0x07],       // lock add [rdi], rax
            &[0x48, 0x83, 0x07, 0x01],       // add [rdi], 1
            &[0xf3, 0x48, 0xa5],             // rep movsq
            &[0x87, 0x07],                   // xchg [rdi], eax
            &[0x0f, 0xb1, 0x0f],             // cmpxchg [rdi], ecx
            &[0xf7, 0x17],                   // not [rdi]
            &[0x66, 0x0f, 0x7f, 0x07],       // movdqa [rdi], xmm0
            &[0xc4, 0xe1, 0x7e, 0x7f, 0x07], // vmovdqu [rdi], ymm0
            &[0x0f, 0x11, 0x07],             // movups [rdi], xmm0
            &[0x0f, 0xc7, 0x0f],             // cmpxchg8b
            &[0x0f, 0x94, 0x07],             // sete [rdi]
            &[0xff, 0x07],                   // inc [rdi]
            &[0xc7, 0x07, 1, 0, 0, 0],       // mov [rdi], 1
            &[0xfe, 0x07],
            &[],
        ];
        for code in stores {
            assert!(!stores_nothing(code), "{code:x?}");
        }
    }

    #[test]
    fn pushes_are_told_from_other_stores() {
        for code in [
            &[0x55][..],
            &[0xe8, 0, 0, 0, 0],
            &[0x41, 0x57],
            &[0xff, 0xd0],
            &[0x48, 0x89, 0x44, 0x24, 8],
        ] {
            assert!(only_pushes(code), "{code:x?}");
        }
        // mov [r12 + 8], rax; mov [rdi], rax; inc [rdi]
        for code in [&[0x49, 0x89, 0x44, 0x24, 8][..], &[0x48, 0x89, 0x07, 0], &[0xff, 0x07]] {
            assert!(!only_pushes(code), "{code:x?}");
        }
    }

    #[test]
    fn what_changes_addresses_and_what_repeats() {
        assert!(changes_addresses(&[0x0f, 0x22, 0xd8]) && changes_addresses(&[0x0f, 0x01, 0x38]));
        assert!(changes_addresses(&[0x66, 0x0f, 0x38, 0x82, 0x07]));
        assert!(!changes_addresses(&[0x0f, 0x01, 0xf8]), "swapgs");
        assert!(repeats(&[0xf3, 0x48, 0xab]) && repeats(&[0xf3, 0xa4]));
        assert!(!repeats(&[0xaa]) && !repeats(&[0xf3, 0x0f, 0x6f, 0x07]));
    }
}
