/* An open at an origin that hangs ends in time, and a file that was known is served stale. */
#include "t_hung.h"

enum { SIZE = T_CHUNK };

static cachefs_origin *open_origin(cachefs_cache *cache) {
    cachefs_origin_options options;
    cachefs_origin *origin = NULL;
    CHECK_OK(cachefs_origin_options_init(&options, sizeof options));
    options.stale_ms = 3600 * 1000;
    options.breaker_failures = 2;
    options.breaker_probe_ms = 3600 * 1000;
    CHECK_OK(cachefs_origin_open_dir(cache, t_path("mount"), &options, &origin));
    return origin;
}

static cachefs_origin_report_info report_of(cachefs_origin *origin) {
    cachefs_origin_report_info report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_origin_report(origin, &report));
    return report;
}

int main(void) {
    struct t_hung_fs fs;
    cachefs_file_info info = {.struct_size = sizeof info};
    cachefs_file *file = NULL;

    t_make_origin_file("file", SIZE, 1);
    t_make_origin_file("other", SIZE, 2);
    t_hung_mount(&fs, "mount", "origin");
    cachefs_cache_options options = t_hung_options();
    options.origin_timeout_ms = 300;
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = open_origin(cache);
    file = t_file_open(origin, "file");
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    cachefs_file_close(file);
    CHECK_EQ(report_of(origin).circuit, CACHEFS_CIRCUIT_CLOSED);

    t_hung(&fs, "hang getattr");
    CHECK_ERROR(cachefs_file_open(origin, "other", 0, &file), -ETIMEDOUT);
    file = t_file_open(origin, "file");
    CHECK_OK(cachefs_file_stat(file, &info));
    CHECK_EQ(info.flags, CACHEFS_FILE_STALE);
    CHECK_READ(file, SIZE, 1, SIZE, 0);
    CHECK_EQ(report_of(origin).circuit, CACHEFS_CIRCUIT_OPEN);
    CHECK_EQ(report_of(origin).last_error, -ETIMEDOUT);
    CHECK(report_of(origin).last_error_ns != 0);

    /* From now on it is left alone. */
    int64_t begin = t_now_ns();
    for (unsigned i = 0; i < 100; i++)
        CHECK_ERROR(cachefs_file_open(origin, "other", 0, &file), -ETIMEDOUT);
    CHECK(t_now_ns() - begin < INT64_C(100) * 300 * 1000000);
    CHECK_LOG("is left alone");

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    t_hung(&fs, "go");
    t_close_in_time(cache);
    t_hung_end(&fs);
    return 0;
}
