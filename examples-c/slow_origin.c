#include "slow_origin.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)

static int64_t nanoseconds(struct timespec time) {
    return time.tv_sec * SECOND_NS + time.tv_nsec;
}

int slow_origin_init(struct slow_origin *slow, const char *root, uint64_t bytes_per_second) {
    slow->root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (slow->root < 0)
        return -errno;
    slow->bytes_per_second = bytes_per_second;
    slow->free_at_ns = 0;
    pthread_mutex_init(&slow->lock, NULL);
    return 0;
}

void slow_origin_destroy(struct slow_origin *slow) {
    pthread_mutex_destroy(&slow->lock);
    close(slow->root);
}

/* What tells one version of a file from another. */
static int32_t slow_stat(void *user, const char *path, cachefs_origin_attr *attr) {
    struct slow_origin *slow = user;
    struct stat status;
    if (fstatat(slow->root, path, &status, 0) != 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    if (!S_ISREG(status.st_mode))
        return -EINVAL;
    attr->size = (uint64_t)status.st_size;
    attr->mtime_ns = nanoseconds(status.st_mtim);
    attr->ctime_ns = nanoseconds(status.st_ctim);
    attr->inode = status.st_ino;
    return 0;
}

/* Waits for the time that `length` bytes take on a line that all reads share. */
static void take_time(struct slow_origin *slow, uint64_t length) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t duration_ns = (int64_t)(length * (uint64_t)SECOND_NS / slow->bytes_per_second);

    pthread_mutex_lock(&slow->lock);
    if (slow->free_at_ns < nanoseconds(now))
        slow->free_at_ns = nanoseconds(now);
    slow->free_at_ns += duration_ns;
    int64_t end_ns = slow->free_at_ns;
    pthread_mutex_unlock(&slow->lock);

    struct timespec end = {.tv_sec = end_ns / SECOND_NS, .tv_nsec = end_ns % SECOND_NS};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
        continue;
}

static int64_t read_file(int root, const char *path, char *buffer, uint64_t length,
                         uint64_t offset) {
    int fd = openat(root, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int64_t done = 0;
    while ((uint64_t)done < length) {
        ssize_t got = pread(fd, buffer + done, length - (uint64_t)done, (off_t)offset + done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            done = -errno;
        if (got <= 0)
            break;
        done += got;
    }
    close(fd);
    return done;
}

/* Called on threads that the library keeps for this origin, so it may take its
   time and complete the read before it returns. */
static int32_t slow_read(void *user, const char *path, const cachefs_origin_attr *version,
                         void *buffer, uint64_t length, uint64_t offset,
                         cachefs_origin_token *token) {
    struct slow_origin *slow = user;
    (void)version; /* the library calls slow_stat() again after the read */
    take_time(slow, length);
    cachefs_origin_complete(token, read_file(slow->root, path, buffer, length, offset));
    return 0;
}

cachefs_origin_ops slow_origin_ops(void) {
    return (cachefs_origin_ops){
        .struct_size = sizeof(cachefs_origin_ops),
        .stat = slow_stat,
        .read = slow_read,
    };
}
