int other(int x);

static inline __attribute__((always_inline)) int from_header(int x) {
    int y = x * 7;
    if (y > 100)
        y -= other(y);
    return y;
}
