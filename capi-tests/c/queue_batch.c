/* A batch is accepted from its front: as much as fits, up to the first bad one. */
#include "t.h"

enum { SIZE = 2 * T_CHUNK, SEED = 27, DEPTH = 8, LENGTH = 1000 };

static unsigned char buffers[16][LENGTH];

/* What a program of a later release, whose requests are longer, hands over. */
struct later_request {
    cachefs_request now;
    uint64_t later;
};

static cachefs_request read_request(cachefs_file *file, unsigned number) {
    return (cachefs_request){.operation = CACHEFS_OPERATION_READ,
                             .file = file,
                             .buffer = buffers[number],
                             .length = LENGTH,
                             .offset = number * 3000,
                             .tag = number};
}

/* Waits for exactly the requests 0 to `count` - 1. */
static void check_all(cachefs_queue *queue, unsigned count) {
    cachefs_completion completions[DEPTH];
    unsigned seen = 0;
    CHECK_EQ(cachefs_queue_wait(queue, completions, count, DEPTH, -1), count);
    for (unsigned i = 0; i < count; i++) {
        unsigned tag = (unsigned)completions[i].tag;
        CHECK(tag < count && (seen & 1U << tag) == 0);
        seen |= 1U << tag;
        CHECK_EQ(completions[i].result, LENGTH);
        CHECK_CONTENT(buffers[tag], LENGTH, SEED, tag * 3000);
    }
    CHECK_EQ(cachefs_queue_space(queue), DEPTH);
}

static void check_full(cachefs_queue *queue, cachefs_file *file) {
    cachefs_request requests[12];
    for (unsigned i = 0; i < 12; i++)
        requests[i] = read_request(file, i);
    CHECK_EQ(cachefs_queue_space(queue), DEPTH);
    CHECK_EQ(cachefs_queue_push(queue, requests, 5, sizeof requests[0]), 5);
    CHECK_EQ(cachefs_queue_space(queue), DEPTH - 5);
    CHECK_EQ(cachefs_queue_push(queue, requests + 5, 7, sizeof requests[0]), 3);
    CHECK_EQ(cachefs_queue_space(queue), 0);
    CHECK_ERROR(cachefs_queue_push(queue, requests, 1, sizeof requests[0]), -EAGAIN);
    CHECK_ERROR(cachefs_queue_read(queue, file, buffers[0], 1, 0, 0), -EAGAIN);
    CHECK_ERROR(cachefs_queue_fill(queue, file, 0, 1, 0), -EAGAIN);
    check_all(queue, DEPTH);
    CHECK_EQ(cachefs_queue_push(queue, requests, 0, sizeof requests[0]), 0);
}

static void check_bad_one(cachefs_queue *queue, cachefs_file *file) {
    cachefs_request requests[4];
    for (unsigned i = 0; i < 4; i++)
        requests[i] = read_request(file, i);
    requests[2].operation = 55;
    CHECK_EQ(cachefs_queue_push(queue, requests, 4, sizeof requests[0]), 2);
    CHECK_ERROR(cachefs_queue_push(queue, requests + 2, 2, sizeof requests[0]), -EINVAL);
    check_all(queue, 2);
}

static void check_element_size(cachefs_queue *queue, cachefs_file *file) {
    struct later_request later[3] = {
        {.now = read_request(file, 0)},
        {.now = read_request(file, 1)},
        {.now = read_request(file, 2)},
    };
    CHECK_EQ(cachefs_queue_push(queue, &later[0].now, 3, sizeof later[0]), 3);
    check_all(queue, 3);
    later[0].later = 1;
    CHECK_ERROR(cachefs_queue_push(queue, &later[0].now, 3, sizeof later[0]), -E2BIG);
    CHECK_ERROR(cachefs_queue_push(queue, &later[0].now, 3, 1), -EINVAL);
    CHECK_EQ(cachefs_queue_space(queue), DEPTH);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, DEPTH, 0);

    check_full(queue, file);
    check_bad_one(queue, file);
    check_element_size(queue, file);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
