/* The option refuk.net: text in, addresses out, nothing else touched. */
#include "parts.h"

#include "machine.h"

/* A number up to `most` in at most three digits; moves past it. False where there is none. */
static bool take_number(const char **text, unsigned most, unsigned *value)
{
    const char *digit = *text;

    for (*value = 0; *digit >= '0' && *digit <= '9' && digit < *text + 3; digit++)
        *value = *value * 10 + (unsigned)(*digit - '0');
    if (digit == *text || *value > most)
        return false;
    *text = digit;
    return true;
}

static bool take_address(const char **text, uint32_t *address)
{
    *address = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned byte;

        if (i > 0 && *(*text)++ != '.')
            return false;
        if (!take_number(text, 255, &byte))
            return false;
        *address |= (uint32_t)byte << 8 * i;
    }
    return true;
}

const char *network_options_parse(const char *text, struct network_options *options)
{
    unsigned bits;

    *options = (struct network_options){.mode = NETWORK_OFF};
    if (same_text(text, "off"))
        return NULL;
    options->mode = NETWORK_DHCP;
    if (same_text(text, "dhcp"))
        return NULL;
    options->mode = NETWORK_FIXED;
    if (!take_address(&text, &options->address))
        return "neither off nor dhcp nor an address";
    if (*text++ != '/' || !take_number(&text, 32, &bits))
        return "an address without /BITS, 0 to 32";
    options->mask = bits == 0 ? 0 : __builtin_bswap32(UINT32_MAX << (32 - bits));
    if (*text == ',') {
        text++;
        if (!take_address(&text, &options->gateway))
            return "a gateway that is no address";
    }
    return *text == '\0' ? NULL : "more than ADDRESS/BITS,GATEWAY";
}
