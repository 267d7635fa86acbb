/*
 * Structures that a program hands in: a shorter one is as if its missing fields
 * were 0, a longer one is accepted while its unknown tail is 0, and refused with
 * -E2BIG when it is not.
 */
#include "t.h"
#include "t_origin.h"

/* A structure of a later release: `longer` has a tail that is not known yet. */
#define LATER(type)                                                                         \
    union {                                                                                 \
        type now;                                                                           \
        unsigned char bytes[sizeof(type) + 24];                                             \
    }

static void check_cache_options(void) {
    LATER(cachefs_cache_options) later;
    cachefs_cache *cache = NULL;

    memset(&later, 0, sizeof later);
    later.now = t_options();
    later.now.struct_size = sizeof later;
    CHECK_OK(cachefs_cache_open(t_path("cache"), &later.now, &cache));
    cachefs_cache_close(cache);

    later.bytes[sizeof later - 1] = 1;
    cache = NULL;
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &later.now, &cache), -E2BIG);
    CHECK(cache == NULL);

    /* Up to and with flags; the rest is not looked at. */
    memset(&later, 0xff, sizeof later);
    later.now.struct_size = offsetof(cachefs_cache_options, capacity_bytes);
    later.now.engine = t_engine();
    later.now.flags = 0;
    CHECK_OK(cachefs_cache_open(t_path("short"), &later.now, &cache));
    cachefs_cache_close(cache);

    cache = NULL;
    for (uint32_t size = 0; size < sizeof later.now.struct_size; size++) {
        later.now = t_options();
        later.now.struct_size = size;
        CHECK_ERROR(cachefs_cache_open(t_path("cache"), &later.now, &cache), -EINVAL);
    }
    CHECK(cache == NULL);
}

static void check_queue_options(cachefs_cache *cache) {
    LATER(cachefs_queue_options) later;
    cachefs_queue *queue = NULL;

    memset(&later, 0, sizeof later);
    later.now.struct_size = sizeof later;
    CHECK_OK(cachefs_queue_open(cache, &later.now, &queue));
    cachefs_queue_close(queue);

    queue = NULL;
    later.bytes[sizeof later.now] = 1;
    CHECK_ERROR(cachefs_queue_open(cache, &later.now, &queue), -E2BIG);
    later.now.struct_size = 0;
    CHECK_ERROR(cachefs_queue_open(cache, &later.now, &queue), -EINVAL);
    CHECK(queue == NULL);

    memset(&later, 0xff, sizeof later);
    later.now.struct_size = offsetof(cachefs_queue_options, flags);
    later.now.depth = 2;
    CHECK_OK(cachefs_queue_open(cache, &later.now, &queue));
    CHECK_EQ(cachefs_queue_space(queue), 2);
    cachefs_queue_close(queue);
}

static void check_origin_ops(cachefs_cache *cache) {
    LATER(cachefs_origin_ops) later;
    struct t_origin memory;
    cachefs_origin *origin = NULL;

    t_origin_init(&memory, 10, 1);
    memset(&later, 0, sizeof later);
    later.now = t_origin_ops();
    later.now.struct_size = sizeof later;
    CHECK_OK(cachefs_origin_open(cache, "later", &later.now, &memory, NULL, &origin));
    cachefs_origin_close(origin);

    origin = NULL;
    later.bytes[sizeof later - 1] = 1;
    CHECK_ERROR(cachefs_origin_open(cache, "later", &later.now, &memory, NULL, &origin), -E2BIG);
    CHECK(origin == NULL);

    /* Without free. */
    memset(&later, 0xff, sizeof later);
    later.now = t_origin_ops();
    later.now.struct_size = offsetof(cachefs_origin_ops, free);
    later.now.free = NULL;
    CHECK_OK(cachefs_origin_open(cache, "short", &later.now, &memory, NULL, &origin));
    cachefs_origin_close(origin);
}

int main(void) {
    check_cache_options();
    cachefs_cache *cache = t_cache_open();
    check_queue_options(cache);
    check_origin_ops(cache);
    cachefs_cache_close(cache);
    return 0;
}
