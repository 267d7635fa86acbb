/* A version tag alone tells two versions apart, also over its whole length. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = T_CHUNK };

static void check_read(cachefs_origin *origin, uint64_t seed) {
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, seed, SIZE, 0);
    CHECK_SOON(t_residency(file).complete == 1);
    cachefs_file_close(file);
}

int main(void) {
    static const char long_tag_a[] = "0123456789012345678901234567890123456789012345 a";
    static const char long_tag_b[] = "0123456789012345678901234567890123456789012345 b";
    _Static_assert(sizeof long_tag_a - 1 == CACHEFS_TAG_MAX, "as long as a tag may be");
    const char *tags[] = {NULL, "a", "ab", long_tag_a, long_tag_b};
    struct t_origin memory;
    t_origin_init(&memory, SIZE, 0);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);

    for (unsigned i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        memory.tag = tags[i];
        memory.seed = i;
        check_read(origin, i);
        CHECK_EQ(memory.reads, i + 1);
        check_read(origin, i);
        CHECK_EQ(memory.reads, i + 1);
    }
    CHECK_SOON(t_statistics(cache).cached_objects == 1);

    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
