/* Each free callback is called exactly once, also when the call fails. */
#include "t.h"
#include "t_origin.h"

static void ignore_message(void *user, uint32_t level, const char *message) {
    (void)user, (void)level, (void)message;
}

static void check_log_free(void) {
    atomic_uint freed = 0;
    cachefs_cache_options options = t_options();
    options.log = ignore_message;
    options.log_user = &freed;
    options.log_free = t_count_free;

    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    CHECK_EQ(freed, 0);
    cachefs_cache_close(cache);
    CHECK_EQ(freed, 1);

    freed = 0;
    CHECK_ERROR(cachefs_cache_open(t_path("missing/cache"), &options, &cache), -ENOENT);
    CHECK_EQ(freed, 1);

    freed = 0;
    options.flags = 1;
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &options, &cache), -EINVAL);
    CHECK_EQ(freed, 1);

    freed = 0;
    options.flags = 0;
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &options, NULL), -EINVAL);
    CHECK_EQ(freed, 1);

    freed = 0;
    CHECK_ERROR(cachefs_cache_open(NULL, &options, &cache), -EINVAL);
    CHECK_EQ(freed, 1);
}

static void check_origin_free(void) {
    struct t_origin memory;
    t_origin_init(&memory, 1000, 1);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin_ops ops = t_origin_ops();
    cachefs_origin *origin = NULL;

    /* It lives as long as a file of it is open. */
    origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_origin_close(origin);
    CHECK_READ(file, 1000, 1, 1000, 0);
    CHECK_EQ(memory.frees, 0);
    cachefs_file_close(file);
    CHECK_SOON(memory.frees == 1);

    memory.frees = 0;
    ops.flags = UINT64_C(1) << 50;
    CHECK_ERROR(cachefs_origin_open(cache, "name", &ops, &memory, NULL, &origin), -EINVAL);
    CHECK_EQ(memory.frees, 1);

    memory.frees = 0;
    ops = t_origin_ops();
    ops.read = NULL;
    CHECK_ERROR(cachefs_origin_open(cache, "name", &ops, &memory, NULL, &origin), -EINVAL);
    CHECK_EQ(memory.frees, 1);

    memory.frees = 0;
    ops = t_origin_ops();
    CHECK_ERROR(cachefs_origin_open(cache, "name", &ops, &memory, NULL, NULL), -EINVAL);
    CHECK_EQ(memory.frees, 1);
    memory.frees = 0;
    CHECK_ERROR(cachefs_origin_open(NULL, "name", &ops, &memory, NULL, &origin), -EINVAL);
    CHECK_EQ(memory.frees, 1);
    memory.frees = 0;
    CHECK_ERROR(cachefs_origin_open(cache, NULL, &ops, &memory, NULL, &origin), -EINVAL);
    CHECK_EQ(memory.frees, 1);

    /* With the cache closed first. */
    memory.frees = 0;
    origin = t_origin_open(cache, &memory);
    cachefs_cache_close(cache);
    cachefs_origin_close(origin);
    CHECK_SOON(memory.frees == 1);

    memory.frees = 0;
    CHECK_ERROR(cachefs_origin_open(cache, "name", &ops, &memory, NULL, &origin), -EBADF);
    CHECK_EQ(memory.frees, 1);
}

int main(void) {
    check_log_free();
    check_origin_free();
    return 0;
}
