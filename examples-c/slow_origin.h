/*
 * A directory as an origin made of callbacks, slowed down to a given rate: what
 * a program writes to bring storage of its own, and a stand-in for a far one.
 */
#ifndef SLOW_ORIGIN_H
#define SLOW_ORIGIN_H

#include <cachefs.h>
#include <pthread.h>
#include <stdint.h>

struct slow_origin {
    int root;
    uint64_t bytes_per_second;
    pthread_mutex_t lock;
    /* When the line is free for the next read, on CLOCK_MONOTONIC. */
    int64_t free_at_ns;
};

/* Opens the directory `root`; returns 0, or a negative errno. */
int slow_origin_init(struct slow_origin *slow, const char *root, uint64_t bytes_per_second);

/* Its callbacks; `slow`, the user pointer, must outlive the origin. */
cachefs_origin_ops slow_origin_ops(void);

void slow_origin_destroy(struct slow_origin *slow);

#endif
