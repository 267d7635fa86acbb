/* The options of an origin are made, set, described and refused as those of a cache. */
#include "t.h"

static const char *const KEYS[] = {
    "validation",     "validate_ttl_ms", "negative_ttl_ms",  "retries",  "retry_first_ms",
    "retry_max_ms",   "breaker_failures", "breaker_probe_ms", "stale_ms",
    "quota_bytes",    "share_percent",
    "bytes_per_second", "operations_per_second", "weight",
};

enum { KEY_COUNT = sizeof KEYS / sizeof KEYS[0] };

static unsigned place(const char *key) {
    for (unsigned i = 0; i < KEY_COUNT; i++) {
        if (strcmp(KEYS[i], key) == 0)
            return i;
    }
    t_fail(__FILE__, __LINE__, "unexpected key %s", key);
}

static void check_described(void) {
    bool seen[KEY_COUNT] = {false};
    cachefs_option_info info = {.struct_size = sizeof info};
    uint32_t count = 0;

    for (; cachefs_origin_option_describe(count, &info) == 0; count++) {
        CHECK(!seen[place(info.key)]);
        seen[place(info.key)] = true;
        CHECK(info.default_value[0] != '\0' && info.range[0] != '\0' && info.meaning[0] != '\0');

        cachefs_origin_options options;
        CHECK_OK(cachefs_origin_options_init(&options, sizeof options));
        CHECK_OK(cachefs_origin_options_set(&options, info.key, info.default_value));
    }
    CHECK_EQ(count, KEY_COUNT);
    CHECK_ERROR(cachefs_origin_option_describe(count, &info), -ENOENT);
    CHECK_ERROR(cachefs_origin_option_describe(0, NULL), -EINVAL);
}

static void check_set(void) {
    cachefs_origin_options options;
    memset(&options, 0xff, sizeof options);
    CHECK_OK(cachefs_origin_options_init(&options, sizeof options));
    CHECK_EQ(options.struct_size, sizeof options);
    CHECK_EQ(options.negative_ttl_ms, 0);
    CHECK_OK(cachefs_origin_options_set(&options, "validation", "ttl"));
    CHECK_EQ(options.validation, CACHEFS_VALIDATE_TTL);
    CHECK_OK(cachefs_origin_options_set(&options, "validation", "never"));
    CHECK_EQ(options.validation, CACHEFS_VALIDATE_NEVER);
    CHECK_OK(cachefs_origin_options_set(&options, "validation", "always"));
    CHECK_EQ(options.validation, CACHEFS_VALIDATE_ALWAYS);
    CHECK_OK(cachefs_origin_options_set(&options, "validate_ttl_ms", "2500"));
    CHECK_EQ(options.validate_ttl_ms, 2500);
    CHECK_OK(cachefs_origin_options_set(&options, "negative_ttl_ms", "1500"));
    CHECK_EQ(options.negative_ttl_ms, 1500);

    CHECK_ERROR(cachefs_origin_options_set(&options, "no_such_key", "1"), -ENOENT);
    CHECK_ERROR(cachefs_origin_options_set(&options, "negative_ttl_ms", "soon"), -EINVAL);
    CHECK_ERROR(cachefs_origin_options_set(&options, "negative_ttl_ms", "99999999999"), -ERANGE);
    CHECK_ERROR(cachefs_origin_options_set(&options, NULL, "1"), -EINVAL);
    CHECK_ERROR(cachefs_origin_options_set(&options, "negative_ttl_ms", NULL), -EINVAL);
    CHECK_ERROR(cachefs_origin_options_set(NULL, "negative_ttl_ms", "1"), -EINVAL);
    CHECK_EQ(options.negative_ttl_ms, 1500);

    CHECK_ERROR(cachefs_origin_options_init(NULL, sizeof options), -EINVAL);
    CHECK_ERROR(cachefs_origin_options_init(&options, 3), -EINVAL);
}

static void check_refused(cachefs_cache *cache) {
    cachefs_origin_options options;
    cachefs_origin *origin = NULL;

    CHECK_OK(cachefs_origin_options_init(&options, sizeof options));
    options.flags = 1;
    CHECK_ERROR(cachefs_origin_open_dir(cache, t_path("origin"), &options, &origin), -EINVAL);
    options.flags = 0;
    options.validation = 3;
    CHECK_ERROR(cachefs_origin_open_dir(cache, t_path("origin"), &options, &origin), -ERANGE);
    options.validation = 0;
    options.negative_ttl_ms = UINT64_MAX;
    CHECK_ERROR(cachefs_origin_open_dir(cache, t_path("origin"), &options, &origin), -ERANGE);
    options.struct_size = 4;
    CHECK_ERROR(cachefs_origin_open_dir(cache, t_path("origin"), &options, &origin), -EINVAL);
    CHECK(origin == NULL);
}

int main(void) {
    cachefs_cache *cache;

    check_described();
    check_set();
    t_make_origin_file("file", 1, 1);
    cache = t_cache_open();
    check_refused(cache);
    CHECK_OK(cachefs_cache_close(cache));
    return 0;
}
