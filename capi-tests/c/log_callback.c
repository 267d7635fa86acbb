/* Messages go to the callback of their cache, one line each. */
#include "t.h"
#include "t_mount.h"

struct log {
    pthread_mutex_t lock;
    unsigned messages;
    uint32_t level_max;
};

static void receive(void *user, uint32_t level, const char *message) {
    struct log *log = user;
    CHECK(level >= CACHEFS_LOG_ERROR && level <= CACHEFS_LOG_TRACE);
    CHECK(message[0] != '\0' && strchr(message, '\n') == NULL);
    pthread_mutex_lock(&log->lock);
    log->messages++;
    if (level > log->level_max)
        log->level_max = level;
    pthread_mutex_unlock(&log->lock);
}

/* Opens a cache in `dir` and uses it a little; returns what it logged. */
static struct log use_cache(const char *dir, uint32_t level) {
    struct log log = {.lock = PTHREAD_MUTEX_INITIALIZER};
    cachefs_cache_options options = t_options();
    options.log = receive;
    options.log_user = &log;
    options.log_level = level;
    cachefs_cache *cache = t_cache_open_with(dir, &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, 1000, 1, 1000, 0);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return log;
}

int main(void) {
    t_make_origin_file("file", 1000, 1);
    t_mount("disk", 1 << 20);
    CHECK_EQ(mkdir(t_path("disk/cache"), 0700), 0);
    t_mount_read_only("disk");

    /* That nothing is stored is worth a warning, which is the default level. */
    struct log log = use_cache(t_path("disk/cache"), 0);
    CHECK(log.messages >= 1);
    CHECK(log.level_max <= CACHEFS_LOG_WARN);

    /* All is well: nothing to say, but for who wants to hear it. */
    log = use_cache(t_path("cache"), 0);
    CHECK_EQ(log.messages, 0);
    log = use_cache(t_path("cache"), CACHEFS_LOG_TRACE);
    CHECK(log.messages >= 1);
    CHECK(log.level_max > CACHEFS_LOG_WARN);
    return 0;
}
