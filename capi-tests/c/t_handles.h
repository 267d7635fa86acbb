/*
 * Every function that takes a handle, called with a handle that must not work:
 * for the tests of closed, foreign and shut-down handles.
 */
#ifndef T_HANDLES_H
#define T_HANDLES_H

#include "t.h"
#include "t_origin.h"

T_HELPER void t_check_cache_refused(cachefs_cache *cache, int expected) {
    cachefs_report report = {.struct_size = sizeof report};
    cachefs_statistics statistics = {.struct_size = sizeof statistics};
    cachefs_origin *origin = NULL;
    cachefs_queue *queue = NULL;

    CHECK_ERROR(cachefs_cache_report(cache, &report), expected);
    CHECK_ERROR(cachefs_stats(cache, &statistics), expected);
    CHECK_ERROR(cachefs_cancel(cache, 1), expected);
    CHECK_ERROR(cachefs_origin_open_dir(cache, t_path("origin"), NULL, &origin), expected);
    CHECK_ERROR(cachefs_queue_open(cache, NULL, &queue), expected);
    CHECK(origin == NULL && queue == NULL);
}

T_HELPER void t_check_origin_refused(cachefs_origin *origin, int expected) {
    cachefs_file *file = NULL;
    CHECK_ERROR(cachefs_file_open(origin, "file", 0, &file), expected);
    CHECK(file == NULL);
}

T_HELPER void t_check_file_refused(cachefs_file *file, int expected) {
    cachefs_file_info info = {.struct_size = sizeof info};
    cachefs_residency residency = {.struct_size = sizeof residency};
    char byte = 'x';
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct t_completions completions = {0};
    cachefs_lease *lease = NULL;

    CHECK_ERROR(cachefs_file_stat(file, &info), expected);
    CHECK_ERROR(cachefs_file_residency(file, &residency), expected);
    CHECK_ERROR(cachefs_file_fd(file), expected);
    CHECK_ERROR(cachefs_read(file, &byte, 1, 0), expected);
    CHECK_ERROR(cachefs_readv(file, &vector, 1, 0), expected);
    CHECK_ERROR(cachefs_read_async(file, &byte, 1, 0, t_complete, &completions, NULL), expected);
    CHECK_ERROR(cachefs_fill(file, 0, 1, NULL, NULL), expected);
    CHECK_ERROR(cachefs_fill_async(file, 0, 1, t_complete, &completions, NULL), expected);
    CHECK_ERROR(cachefs_lease_acquire(file, 0, 1, &lease), expected);
    CHECK(lease == NULL);
    CHECK_EQ(byte, 'x');
    CHECK_EQ(t_completed(&completions), 0);
}

/* `file` is a good one. */
T_HELPER void t_check_queue_refused(cachefs_queue *queue, cachefs_file *file, int expected) {
    char byte = 'x';
    cachefs_completion completion;
    cachefs_request request = {
        .operation = CACHEFS_OPERATION_READ, .file = file, .buffer = &byte, .length = 1};

    CHECK_ERROR(cachefs_queue_push(queue, &request, 1, sizeof request), expected);
    CHECK_ERROR(cachefs_queue_space(queue), expected);
    CHECK_ERROR(cachefs_queue_read(queue, file, &byte, 1, 0, 0), expected);
    CHECK_ERROR(cachefs_queue_fill(queue, file, 0, 1, 0), expected);
    CHECK_ERROR(cachefs_queue_cancel(queue, 0), expected);
    CHECK_ERROR(cachefs_queue_submit(queue), expected);
    CHECK_ERROR(cachefs_queue_wait(queue, &completion, 0, 1, 0), expected);
    CHECK_ERROR(cachefs_queue_fd(queue), expected);
    CHECK_EQ(byte, 'x');
}

#endif /* T_HANDLES_H */
