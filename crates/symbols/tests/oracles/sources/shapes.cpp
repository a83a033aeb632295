#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace shapes {

template <typename T>
struct Square {
    T side;
    T area() const { return side * side; }
    bool operator<(const Square &other) const { return area() < other.area(); }
};

struct Shape {
    virtual ~Shape() = default;
    virtual double weight(int n) const = 0;
};

struct Heavy : Shape {
    std::vector<Square<double>> squares;
    explicit Heavy(int n) {
        for (int i = 0; i < n; i++)
            squares.push_back(Square<double>{double((i * 37) % 11)});
    }
    double weight(int n) const override {
        double sum = 0;
        auto add = [&sum](const Square<double> &square) { sum += square.area(); };
        std::for_each(squares.begin(), squares.end(), add);
        return sum * n;
    }
};

namespace {
std::map<std::string, int> count(const std::vector<std::string> &words) {
    std::map<std::string, int> counts;
    for (const auto &word : words)
        counts[word]++;
    return counts;
}
}

template <typename T>
__attribute__((noinline)) T sorted_middle(std::vector<T> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

}

int main(int argc, char **) {
    auto heavy = std::make_unique<shapes::Heavy>(argc + 10);
    auto middle = shapes::sorted_middle(heavy->squares);
    auto counts = shapes::count({"a", "b", "a"});
    std::printf("%f %f %zu\n", heavy->weight(argc), middle.area(), counts.size());
}
