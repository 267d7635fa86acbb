/* NULL where a handle or a pointer must be is an error, and closes accept it. */
#include "t.h"
#include "t_origin.h"

static void check_null_handles(void) {
    cachefs_report report = {.struct_size = sizeof report};
    cachefs_statistics statistics = {.struct_size = sizeof statistics};
    cachefs_file_info info = {.struct_size = sizeof info};
    cachefs_residency residency = {.struct_size = sizeof residency};
    cachefs_origin_ops ops = t_origin_ops();
    cachefs_request request = {.operation = CACHEFS_OPERATION_FILL, .length = 1};
    cachefs_completion completion;
    struct iovec vector = {.iov_base = NULL, .iov_len = 0};
    struct t_origin memory;
    cachefs_origin *origin = NULL;
    cachefs_file *file = NULL;
    cachefs_queue *queue = NULL;
    cachefs_lease *lease = NULL;
    const void *data = NULL;
    uint64_t length = 0;
    char byte;

    t_origin_init(&memory, 1, 1);
    CHECK_ERROR(cachefs_cache_report(NULL, &report), -EINVAL);
    CHECK_ERROR(cachefs_stats(NULL, &statistics), -EINVAL);
    CHECK_ERROR(cachefs_cancel(NULL, 1), -EINVAL);
    CHECK_ERROR(cachefs_origin_open_dir(NULL, "/", NULL, &origin), -EINVAL);
    CHECK_ERROR(cachefs_origin_open(NULL, "name", &ops, &memory, NULL, &origin), -EINVAL);
    CHECK_ERROR(cachefs_origin_complete(NULL, 0), -EINVAL);
    CHECK_ERROR(cachefs_file_open(NULL, "file", 0, &file), -EINVAL);
    CHECK_ERROR(cachefs_file_stat(NULL, &info), -EINVAL);
    CHECK_ERROR(cachefs_file_residency(NULL, &residency), -EINVAL);
    CHECK_ERROR(cachefs_file_fd(NULL), -EINVAL);
    CHECK_ERROR(cachefs_read(NULL, &byte, 1, 0), -EINVAL);
    CHECK_ERROR(cachefs_readv(NULL, &vector, 1, 0), -EINVAL);
    CHECK_ERROR(cachefs_read_async(NULL, &byte, 1, 0, t_complete, NULL, NULL), -EINVAL);
    CHECK_ERROR(cachefs_fill(NULL, 0, 1, NULL, NULL), -EINVAL);
    CHECK_ERROR(cachefs_fill_async(NULL, 0, 1, t_complete, NULL, NULL), -EINVAL);
    CHECK_ERROR(cachefs_lease_acquire(NULL, 0, 1, &lease), -EINVAL);
    CHECK_ERROR(cachefs_lease_data(NULL, &data, &length), -EINVAL);
    CHECK_ERROR(cachefs_queue_open(NULL, NULL, &queue), -EINVAL);
    CHECK_ERROR(cachefs_queue_push(NULL, &request, 1, sizeof request), -EINVAL);
    CHECK_ERROR(cachefs_queue_space(NULL), -EINVAL);
    CHECK_ERROR(cachefs_queue_read(NULL, NULL, &byte, 1, 0, 0), -EINVAL);
    CHECK_ERROR(cachefs_queue_fill(NULL, NULL, 0, 1, 0), -EINVAL);
    CHECK_ERROR(cachefs_queue_cancel(NULL, 0), -EINVAL);
    CHECK_ERROR(cachefs_queue_submit(NULL), -EINVAL);
    CHECK_ERROR(cachefs_queue_wait(NULL, &completion, 0, 1, 0), -EINVAL);
    CHECK_ERROR(cachefs_queue_fd(NULL), -EINVAL);
    CHECK(origin == NULL && file == NULL && queue == NULL && lease == NULL && data == NULL);
}

static void check_null_of_cache(cachefs_cache *cache) {
    cachefs_origin_ops ops = t_origin_ops();
    cachefs_origin *origin = NULL;
    cachefs_cache *other = NULL;
    struct t_origin memory;

    t_origin_init(&memory, 1, 1);
    CHECK_ERROR(cachefs_cache_open(NULL, NULL, &other), -EINVAL);
    CHECK_ERROR(cachefs_cache_open(t_path("other"), NULL, NULL), -EINVAL);
    CHECK(other == NULL && access(t_path("other"), F_OK) != 0);
    CHECK_ERROR(cachefs_cache_report(cache, NULL), -EINVAL);
    CHECK_ERROR(cachefs_stats(cache, NULL), -EINVAL);
    CHECK_ERROR(cachefs_origin_open_dir(cache, NULL, NULL, &origin), -EINVAL);
    CHECK_ERROR(cachefs_origin_open_dir(cache, "/", NULL, NULL), -EINVAL);
    CHECK_ERROR(cachefs_origin_open(cache, NULL, &ops, &memory, NULL, &origin), -EINVAL);
    CHECK_ERROR(cachefs_origin_open(cache, "name", NULL, &memory, NULL, &origin), -EINVAL);
    CHECK_ERROR(cachefs_origin_open(cache, "name", &ops, &memory, NULL, NULL), -EINVAL);
    CHECK_ERROR(cachefs_queue_open(cache, NULL, NULL), -EINVAL);
    CHECK(origin == NULL);
}

static void check_null_of_file(cachefs_origin *origin, cachefs_file *file) {
    cachefs_file *other = NULL;
    struct iovec vector = {.iov_base = NULL, .iov_len = 1};

    CHECK_ERROR(cachefs_file_open(origin, NULL, 0, &other), -EINVAL);
    CHECK_ERROR(cachefs_file_open(origin, "file", 0, NULL), -EINVAL);
    CHECK(other == NULL);
    CHECK_ERROR(cachefs_file_stat(file, NULL), -EINVAL);
    CHECK_ERROR(cachefs_file_residency(file, NULL), -EINVAL);
    CHECK_ERROR(cachefs_read(file, NULL, 1, 0), -EINVAL);
    CHECK_ERROR(cachefs_readv(file, NULL, 1, 0), -EINVAL);
    CHECK_ERROR(cachefs_readv(file, &vector, 1, 0), -EINVAL);
    CHECK_ERROR(cachefs_read_async(file, NULL, 1, 0, t_complete, NULL, NULL), -EINVAL);
    CHECK_ERROR(cachefs_read_async(file, &vector, 1, 0, NULL, NULL, NULL), -EINVAL);
    CHECK_ERROR(cachefs_fill_async(file, 0, 1, NULL, NULL, NULL), -EINVAL);
    CHECK_ERROR(cachefs_lease_acquire(file, 0, 1, NULL), -EINVAL);
    /* Nothing to read into needs no memory. */
    CHECK_OK(cachefs_read(file, NULL, 0, 0));
    CHECK_OK(cachefs_readv(file, NULL, 0, 0));
}

static void check_null_of_queue(cachefs_cache *cache, cachefs_file *file) {
    cachefs_queue *queue = t_queue_open(cache, 4, 0);
    cachefs_request request = {.operation = CACHEFS_OPERATION_READ, .file = file, .length = 1};
    char byte;

    CHECK_ERROR(cachefs_queue_push(queue, NULL, 1, sizeof request), -EINVAL);
    CHECK_ERROR(cachefs_queue_push(queue, &request, 1, sizeof request), -EINVAL);
    request.buffer = &byte;
    request.file = NULL;
    CHECK_ERROR(cachefs_queue_push(queue, &request, 1, sizeof request), -EINVAL);
    CHECK_ERROR(cachefs_queue_push(queue, &request, 1, 0), -EINVAL);
    CHECK_ERROR(cachefs_queue_read(queue, NULL, &byte, 1, 0, 0), -EINVAL);
    CHECK_ERROR(cachefs_queue_read(queue, file, NULL, 1, 0, 0), -EINVAL);
    CHECK_ERROR(cachefs_queue_fill(queue, NULL, 0, 1, 0), -EINVAL);
    CHECK_ERROR(cachefs_queue_wait(queue, NULL, 0, 1, 0), -EINVAL);
    CHECK_EQ(cachefs_queue_space(queue), 4);
    cachefs_queue_close(queue);
}

int main(void) {
    t_make_origin_file("file", 1000, 1);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");

    check_null_handles();
    check_null_of_cache(cache);
    check_null_of_file(origin, file);
    check_null_of_queue(cache, file);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);

    cachefs_lease_release(NULL);
    cachefs_file_close(NULL);
    cachefs_queue_close(NULL);
    cachefs_origin_close(NULL);
    CHECK_OK(cachefs_cache_close(NULL));
    return 0;
}
