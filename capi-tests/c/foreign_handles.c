/* A handle of another kind is refused with -EBADF, and so is any other value. */
#include "t.h"
#include "t_handles.h"

/* Through void *, as a program gets it wrong. */
static void check_foreign(void *handle, cachefs_file *good) {
    t_check_cache_refused(handle, -EBADF);
    t_check_origin_refused(handle, -EBADF);
    t_check_queue_refused(handle, good, -EBADF);
    CHECK_ERROR(cachefs_origin_complete(handle, 0), -EBADF);
    CHECK_ERROR(cachefs_cache_close(handle), -EBADF);
    cachefs_origin_close(handle);
    cachefs_queue_close(handle);
}

int main(void) {
    t_make_origin_file("file", 1000, 1);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, 4, 0);
    void *cache_pointer = cache, *origin_pointer = origin, *queue_pointer = queue;
    int local = 0;

    check_foreign(file, file);
    check_foreign(&local, file);
    check_foreign((void *)(uintptr_t)1, file);
    check_foreign((void *)UINTPTR_MAX, file);

    t_check_file_refused(cache_pointer, -EBADF);
    t_check_file_refused(origin_pointer, -EBADF);
    t_check_file_refused(queue_pointer, -EBADF);
    cachefs_file_close(cache_pointer);
    cachefs_file_close(origin_pointer);
    cachefs_file_close(queue_pointer);

    /* All that did no harm. */
    CHECK_READ(file, 1000, 1, 1000, 0);
    CHECK_EQ(cachefs_queue_space(queue), 4);
    t_statistics(cache);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
