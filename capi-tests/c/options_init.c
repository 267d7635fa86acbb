/* cachefs_cache_options_init() gives defaults, in as many bytes as it is told. */
#include "t.h"

int main(void) {
    union {
        cachefs_cache_options options;
        unsigned char bytes[sizeof(cachefs_cache_options) + 32];
    } longer;

    memset(&longer, 0xff, sizeof longer);
    CHECK_OK(cachefs_cache_options_init(&longer.options, sizeof longer.options));
    CHECK_EQ(longer.options.struct_size, sizeof longer.options);
    for (size_t i = sizeof longer.options.struct_size; i < sizeof longer.options; i++)
        CHECK_EQ(longer.bytes[i], 0);
    for (size_t i = sizeof longer.options; i < sizeof longer; i++)
        CHECK_EQ(longer.bytes[i], 0xff);

    /* A program of a later release, whose structure is longer. */
    CHECK_OK(cachefs_cache_options_init(&longer.options, sizeof longer));
    CHECK_EQ(longer.options.struct_size, sizeof longer);
    for (size_t i = sizeof longer.options.struct_size; i < sizeof longer; i++)
        CHECK_EQ(longer.bytes[i], 0);

    memset(&longer, 0xff, sizeof longer);
    CHECK_ERROR(cachefs_cache_options_init(NULL, sizeof longer.options), -EINVAL);
    CHECK_ERROR(cachefs_cache_options_init(&longer.options, 0), -EINVAL);
    CHECK_ERROR(cachefs_cache_options_init(&longer.options, 3), -EINVAL);
    for (size_t i = 0; i < sizeof longer; i++)
        CHECK_EQ(longer.bytes[i], 0xff);
    return 0;
}
