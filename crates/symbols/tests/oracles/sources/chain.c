#include <stdio.h>
#include <stdlib.h>
#include "chain.h"

static volatile int sink;

static int leaf(int x) {
    for (int i = 0; i < x; i++)
        sink += i * x;
    return sink;
}

static inline __attribute__((always_inline)) int middle(int x) {
    int a = leaf(x + 1);
    return a + leaf(x + 2);
}

static inline __attribute__((always_inline)) int upper(int x) {
    if (x & 1)
        return middle(x);
    return middle(x * 3) + from_header(x);
}

__attribute__((noinline)) int outer(int x) {
    int total = 0;
    for (int i = 0; i < x; i++) {
        total += upper(i);
        if (total > 1000000)
            abort();
    }
    return total;
}

__attribute__((noinline)) int recursive(int n) {
    return n < 2 ? n : recursive(n - 1) + recursive(n - 2);
}

int main(int argc, char **argv) {
    printf("%d %d %d\n", outer(argc + 5), recursive(argc + 8), other(argc));
    return 0;
}
