/*
 * An origin whose callbacks never block is called on I/O threads; another on
 * threads of its own, as many as it asks for.
 */
#include "t.h"
#include "t_origin.h"

#include <sys/prctl.h>

enum { SIZE = 4 * T_CHUNK, SEED = 43 };

struct observed {
    struct t_origin memory;
    atomic_uint on_io_threads;
    atomic_uint at_once;
    atomic_uint at_once_max;
};

static int32_t observe_read(void *user, const char *path, const cachefs_origin_attr *version,
                            void *buffer, uint64_t length, uint64_t offset,
                            cachefs_origin_token *token) {
    struct observed *observed = user;
    char name[16];
    prctl(PR_GET_NAME, name);
    observed->on_io_threads += strncmp(name, "cachefs-io-", 11) == 0;
    unsigned at_once = ++observed->at_once;
    unsigned max = observed->at_once_max;
    while (at_once > max && !atomic_compare_exchange_weak(&observed->at_once_max, &max, at_once))
        continue;
    t_sleep_ms(5);
    observed->at_once--;
    return t_origin_read(&observed->memory, path, version, buffer, length, offset, token);
}

static int32_t observe_stat(void *user, const char *path, cachefs_origin_attr *attr) {
    struct observed *observed = user;
    return t_origin_stat(&observed->memory, path, attr);
}

static void observe(cachefs_cache *cache, const char *name, uint64_t flags, uint32_t threads,
                    struct observed *observed) {
    cachefs_origin_ops ops = {.struct_size = sizeof ops,
                              .threads = threads,
                              .flags = flags,
                              .stat = observe_stat,
                              .read = observe_read};
    cachefs_origin *origin = NULL;
    memset(observed, 0, sizeof *observed);
    t_origin_init(&observed->memory, SIZE, SEED);
    CHECK_OK(cachefs_origin_open(cache, name, &ops, observed, NULL, &origin));
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK_EQ(observed->memory.reads, 4);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
}

int main(void) {
    static struct observed observed;
    cachefs_cache *cache = t_cache_open();
    observe(cache, "nonblocking", CACHEFS_ORIGIN_NONBLOCKING, 0, &observed);
    CHECK_EQ(observed.on_io_threads, 4);
    observe(cache, "one thread", 0, 1, &observed);
    CHECK_EQ(observed.on_io_threads, 0);
    CHECK_EQ(observed.at_once_max, 1);
    observe(cache, "blocking", 0, 0, &observed);
    CHECK_EQ(observed.on_io_threads, 0);
    CHECK(observed.at_once_max > 1);
    cachefs_cache_close(cache);
    return 0;
}
