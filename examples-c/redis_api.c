#include "redis_api.h"

#include <string.h>

#define REDIS_DEFINE(returns, name, arguments) returns(*RedisModule_##name) arguments;
REDIS_FUNCTIONS(REDIS_DEFINE)

const char *redis_api_find(RedisModuleCtx *ctx) {
    int (*get_api)(const char *function, void *place);
    memcpy(&get_api, ctx, sizeof get_api);
#define REDIS_FIND(returns, name, arguments)                                                       \
    if (get_api("RedisModule_" #name, &RedisModule_##name) != REDISMODULE_OK)                      \
        return "RedisModule_" #name;
    REDIS_FUNCTIONS(REDIS_FIND)
    return NULL;
}
