/*
 * A handle that was closed is refused with -EBADF; another close does nothing,
 * and says so.
 */
#include "t.h"
#include "t_handles.h"

/* The call that has no result failed. */
#define CHECK_SAYS_ERROR(call)                                                              \
    do {                                                                                    \
        (call);                                                                             \
        CHECK(cachefs_last_error()[0] != '\0');                                             \
    } while (0)

int main(void) {
    t_make_origin_file("file", 1000, 1);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_file *good = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, 4, 0);
    cachefs_queue *other = t_queue_open(cache, 4, 0);

    cachefs_file_close(file);
    t_check_file_refused(file, -EBADF);
    CHECK_SAYS_ERROR(cachefs_file_close(file));

    /* A request for a closed file. */
    char byte;
    CHECK_ERROR(cachefs_queue_read(other, file, &byte, 1, 0, 0), -EBADF);
    CHECK_EQ(cachefs_queue_space(other), 4);

    cachefs_queue_close(queue);
    t_check_queue_refused(queue, good, -EBADF);
    CHECK_SAYS_ERROR(cachefs_queue_close(queue));
    cachefs_queue_close(other);

    cachefs_origin_close(origin);
    t_check_origin_refused(origin, -EBADF);
    CHECK_SAYS_ERROR(cachefs_origin_close(origin));

    /* What was opened before stays open. */
    CHECK_READ(good, 1000, 1, 1000, 0);
    cachefs_file_close(good);

    CHECK_OK(cachefs_cache_close(cache));
    t_check_cache_refused(cache, -EBADF);
    CHECK_ERROR(cachefs_cache_close(cache), -EBADF);

    /* New handles do not bring old ones back. */
    cachefs_cache *again = t_cache_open();
    t_check_cache_refused(cache, -EBADF);
    cachefs_cache_close(again);
    return 0;
}
