// Wording of error messages: the nearest known word, numbers for people. Pure; no threads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace mh::model {

/// The candidate nearest to `word` by edit distance (insert, delete, replace, swap of neighbours;
/// case is ignored). When none is near (more than a third of the letters differ), the candidate
/// that begins with `word` ("every" for every_steps), else nothing. The first of equals.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> candidates);

/// "; did you mean 'x'?" or, with nothing near, "; allowed: a, b, c" (empty without candidates).
std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

/// "a, b, c".
std::string joined(std::span<const std::string_view> words);

/// 1234567 as "1,234,567".
std::string grouped(std::int64_t number);

/// Shortest text that reads back as the same double: "0.1", "1e-08".
std::string number_text(double number);

}  // namespace mh::model
