/* Every descriptor of the library is close-on-exec, and is closed with its cache. */
#include "t.h"
#include "t_origin.h"

#include <dirent.h>

enum { SIZE = 3 * T_CHUNK, SEED = 38 };

/* Those above standard error, which the test was started with. */
static void check_close_on_exec(void) {
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd <= STDERR_FILENO)
            continue;
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && (flags & FD_CLOEXEC) == 0) {
            char link[64], target[256] = "";
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            (void)!readlink(link, target, sizeof target - 1);
            t_fail(__FILE__, __LINE__, "descriptor %d (%s) survives exec", fd, target);
        }
    }
    closedir(directory);
}

int main(void) {
    /* What else was inherited is not the library's. */
    for (int fd = STDERR_FILENO + 1; fd < 256; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    t_make_origin_file("file", SIZE, SEED);
    unsigned before = t_count_descriptors();

    for (int round = 0; round < 3; round++) {
        cachefs_cache *cache = t_cache_open();
        cachefs_origin *directory = t_origin_open_dir(cache);
        cachefs_origin *callbacks = t_origin_open(cache, &memory);
        cachefs_file *files[2] = {t_file_open(directory, "file"), t_file_open(callbacks, "file")};
        cachefs_queue *queue = t_queue_open(cache, 4, 0);
        CHECK(cachefs_queue_fd(queue) >= 0);
        for (int i = 0; i < 2; i++) {
            unsigned char byte;
            cachefs_completion completion;
            CHECK_READ(files[i], SIZE, SEED, SIZE, 0);
            CHECK_OK(cachefs_queue_read(queue, files[i], &byte, 1, 0, 0));
            CHECK_EQ(cachefs_queue_wait(queue, &completion, 1, 1, -1), 1);
        }
        check_close_on_exec();
        cachefs_queue_close(queue);
        cachefs_file_close(files[0]);
        cachefs_file_close(files[1]);
        cachefs_origin_close(directory);
        cachefs_origin_close(callbacks);
        cachefs_cache_close(cache);
        CHECK_EQ(t_count_descriptors(), before);
    }
    return 0;
}
