/* Objects on a device whose sectors have 512 bytes: reads of every alignment. */
#include "t_sectors.h"

int main(void) {
    return t_check_sectors(512);
}
