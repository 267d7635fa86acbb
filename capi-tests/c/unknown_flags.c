/* Flags, values and operations that this release does not know are refused. */
#include "t.h"
#include "t_origin.h"

static void check_cache_options(void) {
    cachefs_cache *cache = NULL;
    cachefs_cache_options options = t_options();

    options.flags = 1;
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &options, &cache), -EINVAL);
    options.flags = UINT64_C(1) << 63;
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &options, &cache), -EINVAL);
    options = t_options();
    options.engine = 99;
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &options, &cache), -EINVAL);
    options = t_options();
    options.log_level = CACHEFS_LOG_TRACE + 1;
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &options, &cache), -ERANGE);
    options = t_options();
    options.readahead = 2;
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &options, &cache), -ERANGE);
    options = t_options();
    options.chunk_bytes = 100000;
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &options, &cache), -EINVAL);
    options = t_options();
    options.threads = UINT32_MAX;
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &options, &cache), -ERANGE);
    CHECK(cache == NULL);
    CHECK(access(t_path("cache"), F_OK) != 0);
}

static void check_origin_ops(cachefs_cache *cache) {
    struct t_origin memory;
    cachefs_origin *origin = NULL;
    t_origin_init(&memory, 10, 1);

    cachefs_origin_ops ops = t_origin_ops();
    ops.flags = UINT64_C(1) << 40;
    CHECK_ERROR(cachefs_origin_open(cache, "name", &ops, &memory, NULL, &origin), -EINVAL);
    ops = t_origin_ops();
    ops.flags = CACHEFS_ORIGIN_NONBLOCKING;
    ops.threads = 1;
    CHECK_ERROR(cachefs_origin_open(cache, "name", &ops, &memory, NULL, &origin), -EINVAL);
    ops = t_origin_ops();
    ops.stat = NULL;
    CHECK_ERROR(cachefs_origin_open(cache, "name", &ops, &memory, NULL, &origin), -EINVAL);
    ops = t_origin_ops();
    ops.read = NULL;
    CHECK_ERROR(cachefs_origin_open(cache, "name", &ops, &memory, NULL, &origin), -EINVAL);
    CHECK(origin == NULL);
}

static void check_queue(cachefs_cache *cache, cachefs_file *file) {
    cachefs_queue *queue = NULL;
    cachefs_queue_options options = {.struct_size = sizeof options, .flags = 2};
    CHECK_ERROR(cachefs_queue_open(cache, &options, &queue), -EINVAL);
    options.flags = 0;
    options.depth = 4097;
    CHECK_ERROR(cachefs_queue_open(cache, &options, &queue), -EINVAL);
    CHECK(queue == NULL);

    char buffer[16];
    cachefs_request good = {.operation = CACHEFS_OPERATION_READ,
                            .file = file,
                            .buffer = buffer,
                            .length = sizeof buffer};
    queue = t_queue_open(cache, 4, 0);
    cachefs_request request = good;
    request.operation = 77;
    CHECK_ERROR(cachefs_queue_push(queue, &request, 1, sizeof request), -EINVAL);
    request = good;
    request.operation = 0;
    CHECK_ERROR(cachefs_queue_push(queue, &request, 1, sizeof request), -EINVAL);
    request = good;
    request.flags = 1;
    CHECK_ERROR(cachefs_queue_push(queue, &request, 1, sizeof request), -EINVAL);
    request = good;
    request.operation = CACHEFS_OPERATION_FILL;
    CHECK_ERROR(cachefs_queue_push(queue, &request, 1, sizeof request), -EINVAL);
    CHECK_EQ(cachefs_queue_space(queue), 4);
    cachefs_queue_close(queue);
}

int main(void) {
    check_cache_options();
    t_make_origin_file("file", 1000, 1);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = NULL;
    CHECK_ERROR(cachefs_file_open(origin, "file", 1, &file), -EINVAL);
    CHECK_ERROR(cachefs_file_open(origin, "file", UINT64_C(1) << 63, &file), -EINVAL);
    CHECK(file == NULL);
    file = t_file_open(origin, "file");

    check_origin_ops(cache);
    check_queue(cache, file);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
