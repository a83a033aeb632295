// One unit of the file that the benchmark makes: much debug information of templates that are inlined into each other.
#include <algorithm>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

template <int N> struct Shape {
    std::map<std::string, std::vector<int>> by_name;
    std::unordered_map<int, std::shared_ptr<std::string>> by_number;
    std::deque<std::pair<int, double>> queue;
    __attribute__((noinline)) int work(int seed) {
        std::mt19937 random(seed + N);
        for (int i = 0; i < 100 + N; i++) {
            std::ostringstream text;
            text << "shape " << N << ' ' << random() % 100;
            auto &values = by_name[text.str()];
            values.push_back(i);
            std::sort(values.begin(), values.end(), [](int a, int b) { return (a ^ N) < (b ^ N); });
            by_number.emplace(i, std::make_shared<std::string>(text.str()));
            queue.emplace_back(i, random() / (N + 1.0));
        }
        std::function<int(int)> sum = [this](int until) {
            int total = 0;
            for (auto &[name, values] : by_name) {
                total += std::accumulate(values.begin(), values.end(), until, [](int a, int b) { return a * N + b; });
            }
            return total;
        };
        return sum(N) + static_cast<int>(queue.size());
    }
};

template <int... N> int all(int seed, std::integer_sequence<int, N...>) { return (0 + ... + Shape<N>().work(seed)); }

int run(int seed) {
    std::regex words("([a-z]+)[0-9]*");
    return all(seed, std::make_integer_sequence<int, 40>()) + std::regex_match("shape", words);
}
