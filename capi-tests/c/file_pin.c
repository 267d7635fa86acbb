/*
 * A pinned file stays in the cache while others come and go, also after a restart and
 * when the slot table is lost; pinned files have no more of the cache than they may.
 */
#include "t.h"
#include "t_origin.h"

enum { FILES = 40, SIZE = 8 * T_CHUNK, CAPACITY = 64 * T_CHUNK, SEED = 53 };

static cachefs_cache *cache;
static cachefs_origin *origin;

static void begin(struct t_origin *memory) {
    cachefs_cache_options options = t_options();
    options.capacity_bytes = CAPACITY;
    options.pinned_percent = 20;
    cache = t_cache_open_with(t_path("cache"), &options);
    origin = t_origin_open(cache, memory);
}

static void end(void) {
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
}

static bool is_normal(void) {
    cachefs_report report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_cache_report(cache, &report));
    return report.state == CACHEFS_STATE_NORMAL;
}

static void others_come(const char *prefix) {
    for (unsigned i = 0; i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s-%u", prefix, i);
        cachefs_file *file = t_file_open(origin, name);
        CHECK_READ(file, SIZE, SEED, SIZE, 0);
        cachefs_file_close(file);
    }
    CHECK_SOON(t_statistics(cache).in_flight == 0);
}

static bool is_complete(const char *name) {
    cachefs_residency residency = {.struct_size = sizeof residency};
    cachefs_file *file = t_file_open(origin, name);
    CHECK_OK(cachefs_file_residency(file, &residency));
    cachefs_file_close(file);
    return residency.complete;
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    begin(&memory);
    cachefs_file *pinned = t_file_open(origin, "pinned");
    CHECK_OK(cachefs_file_pin(pinned));
    CHECK_OK(cachefs_file_pin(pinned));
    CHECK_EQ(cachefs_fill(pinned, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK(t_statistics(cache).pinned_bytes >= SIZE);
    cachefs_file_close(pinned);

    /* A second one is too much: a fifth of the cache is less than two files. */
    cachefs_file *second = t_file_open(origin, "second");
    CHECK_EQ(cachefs_fill(second, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK_ERROR(cachefs_file_pin(second), -ENOSPC);
    cachefs_file_close(second);

    others_come("first");
    CHECK(is_complete("pinned"));
    CHECK(!is_complete("second"));
    end();

    begin(&memory);
    others_come("second");
    CHECK(is_complete("pinned"));
    end();

    CHECK_EQ(unlink(t_path("cache/slots")), 0);
    begin(&memory);
    CHECK_SOON(is_normal());
    CHECK(t_statistics(cache).pinned_bytes >= SIZE);
    others_come("third");
    CHECK(is_complete("pinned"));

    cachefs_file *file = t_file_open(origin, "pinned");
    CHECK_OK(cachefs_file_unpin(file));
    CHECK_EQ(t_statistics(cache).pinned_bytes, 0);
    cachefs_file_close(file);

    /* Now there is room for another one. */
    second = t_file_open(origin, "second");
    CHECK_EQ(cachefs_fill(second, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK_OK(cachefs_file_pin(second));
    cachefs_file_close(second);
    end();
    return 0;
}
