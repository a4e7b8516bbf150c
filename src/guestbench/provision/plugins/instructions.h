// What is to be known of an x86 instruction by its bytes, as far as counting needs it.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LONGEST_INSTRUCTION = 15 };

static bool is_prefix(uint8_t byte)
{
    return byte == 0x66 || byte == 0x67 || byte == 0xF2 || byte == 0xF3 || byte == 0x2E || byte == 0x3E || byte == 0x26 ||
           byte == 0x36 || byte == 0x64 || byte == 0x65;
}

// Of an instruction: it is out or outs; it is in, rdtsc, rdtscp, pause or hlt; it touches registers alone, and in any mode of
// the CPU what is run next is the one behind it, so that it can be counted with that. Not all such are known.
enum { WRITES_PORT = 1, MAY_WAIT = 2, GOES_ON = 4 };

// The same of one whose opcode begins with 0F.
static int classify_long(uint8_t op, uint8_t next)
{
    bool registers = next >= 0xC0;
    if (op == 0x31 || (op == 0x01 && next == 0xF9))
        return MAY_WAIT;
    if (op == 0x1F || (op >= 0xC8 && op <= 0xCF)) // nop, bswap
        return GOES_ON;
    if ((op & 0xF0) == 0x40 || (op & 0xF0) == 0x90) // cmov, set
        return registers ? GOES_ON : 0;
    switch (op) {
    case 0x1E: case 0xA3: case 0xA4: case 0xA5: case 0xAB: case 0xAC: case 0xAD: case 0xAF: case 0xB3: case 0xB6: case 0xB7:
    case 0xBB: case 0xBC: case 0xBD: case 0xBE: case 0xBF: // endbr, bt, shld, shrd, imul, movzx, bsf, movsx
        return registers ? GOES_ON : 0;
    case 0xBA: // bt
        return next >= 0xE0 ? GOES_ON : 0;
    default:
        return 0;
    }
}

static int classify(const uint8_t *code, size_t length)
{
    size_t at = 0;
    bool repeated = false;
    for (; at < length && is_prefix(code[at]); at++)
        repeated = repeated || code[at] == 0xF3;
    if (at < length && (code[at] & 0xF0) == 0x40 && ++at == length) // inc and dec in 32 bits, or REX
        return GOES_ON;
    if (at == length)
        return 0;
    // Where it is shorter it has no operand.
    const uint8_t op = code[at], next = at + 1 < length ? code[at + 1] : 0;
    bool registers = next >= 0xC0;
    int extension = next >> 3 & 7;
    if (op == 0x0F)
        return classify_long(next, at + 2 < length ? code[at + 2] : 0);
    if (op < 0x40) // add, or, adc, sbb, and, sub, xor, cmp
        return ((op & 7) < 4 ? registers : (op & 7) < 6) ? GOES_ON : 0;
    if (op == 0x90 && repeated)
        return MAY_WAIT;
    if ((op >= 0x90 && op <= 0x99) || (op >= 0xB0 && op <= 0xBF)) // nop, xchg, cwd, mov
        return GOES_ON;
    switch (op) {
    case 0x6E: case 0x6F: case 0xE6: case 0xE7: case 0xEE: case 0xEF:
        return WRITES_PORT;
    case 0xE4: case 0xE5: case 0xEC: case 0xED: case 0xF4:
        return MAY_WAIT;
    case 0x69: case 0x6B: case 0x80: case 0x81: case 0x83: case 0x84: case 0x85: case 0x86: case 0x87: case 0x88: case 0x89:
    case 0x8A: case 0x8B: case 0xC0: case 0xC1: case 0xD0: case 0xD1: case 0xD2: case 0xD3: // imul, test, xchg, mov, shifts
        return registers ? GOES_ON : 0;
    case 0x8D: // lea
        return registers ? 0 : GOES_ON;
    case 0xA8: case 0xA9: case 0xF5: case 0xF8: case 0xF9: case 0xFC: case 0xFD: // test, flags
        return GOES_ON;
    case 0xF6: case 0xF7: // test, not, neg, mul, imul; div may fault
        return registers && extension < 6 ? GOES_ON : 0;
    case 0xFE: case 0xFF: // inc, dec
        return registers && extension < 2 ? GOES_ON : 0;
    default:
        return 0;
    }
}
