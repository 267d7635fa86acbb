/*
 * Structures that the library fills: of a shorter one only the part that the
 * program has, and a longer one to the end of what the library knows.
 */
#include "t.h"

enum { TAIL = 24 };

/*
 * Calls `fill` with a shorter and a longer structure of `size` bytes, of which
 * the first four are struct_size.
 */
static void check(int (*fill)(void *user, void *structure), void *user, uint32_t size) {
    unsigned char bytes[4096];
    CHECK(size + TAIL <= sizeof bytes);

    uint32_t shorter = size - 8;
    memset(bytes, 0xa5, sizeof bytes);
    memcpy(bytes, &shorter, sizeof shorter);
    CHECK_OK(fill(user, bytes));
    for (size_t i = shorter; i < sizeof bytes; i++)
        CHECK_EQ(bytes[i], 0xa5);

    uint32_t longer = size + TAIL;
    memset(bytes, 0xa5, sizeof bytes);
    memcpy(bytes, &longer, sizeof longer);
    CHECK_OK(fill(user, bytes));
    for (size_t i = longer; i < sizeof bytes; i++)
        CHECK_EQ(bytes[i], 0xa5);
    /* What the library does not know is 0, as if it knew it and had nothing to say. */
    for (size_t i = size; i < longer; i++)
        CHECK_EQ(bytes[i], 0);

    uint32_t none = 0;
    memset(bytes, 0xa5, sizeof bytes);
    memcpy(bytes, &none, sizeof none);
    CHECK_ERROR(fill(user, bytes), -EINVAL);
    for (size_t i = sizeof none; i < sizeof bytes; i++)
        CHECK_EQ(bytes[i], 0xa5);
}

static int describe(void *user, void *structure) {
    (void)user;
    return cachefs_option_describe(0, structure);
}

static int report(void *user, void *structure) {
    return cachefs_cache_report(user, structure);
}

static int stats(void *user, void *structure) {
    return cachefs_stats(user, structure);
}

static int file_stat(void *user, void *structure) {
    return cachefs_file_stat(user, structure);
}

static int residency(void *user, void *structure) {
    return cachefs_file_residency(user, structure);
}

int main(void) {
    t_make_origin_file("file", 1000, 1);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");

    check(describe, NULL, sizeof(cachefs_option_info));
    check(report, cache, sizeof(cachefs_report));
    check(stats, cache, sizeof(cachefs_statistics));
    check(file_stat, file, sizeof(cachefs_file_info));
    check(residency, file, sizeof(cachefs_residency));

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
