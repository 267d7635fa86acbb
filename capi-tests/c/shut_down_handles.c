/*
 * After cachefs_cache_close() its files, origins and queues answer -ESHUTDOWN,
 * and can still be closed, in any order.
 */
#include "t.h"
#include "t_handles.h"

int main(void) {
    t_make_origin_file("file", 1000, 1);
    unsigned descriptors = t_count_descriptors();
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, 4, 0);

    cachefs_cache_close(cache);
    t_check_cache_refused(cache, -EBADF);
    t_check_origin_refused(origin, -ESHUTDOWN);
    t_check_file_refused(file, -ESHUTDOWN);
    t_check_queue_refused(queue, file, -ESHUTDOWN);

    cachefs_origin_close(origin);
    cachefs_queue_close(queue);
    cachefs_file_close(file);
    t_check_file_refused(file, -EBADF);
    CHECK_EQ(t_count_descriptors(), descriptors);
    return 0;
}
