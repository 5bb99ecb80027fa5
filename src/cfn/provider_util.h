// What the providers share. Include from .cc files only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "cfn/provider.h"

namespace weir::cfn {

// The error says that the resource does not exist.
bool is_not_found(const api::ApiError& error);
// Calls the operation; false when the resource does not exist.
bool call_if_exists(const ResourceCall& c, std::string_view service, std::string_view operation,
                    const nlohmann::json& input);
// Calls the operation; an error with this code is no error.
void call_unless(const ResourceCall& c, std::string_view service, std::string_view operation,
                 const nlohmann::json& input, std::string_view tolerated);
// The list `member` of a Describe answer; empty when the resource does not exist.
nlohmann::json describe(const ResourceCall& c, std::string_view service, std::string_view operation,
                        const nlohmann::json& input, std::string_view member);
// The first of them, or null.
nlohmann::json describe_one(const ResourceCall& c, std::string_view service, std::string_view operation,
                            const nlohmann::json& input, std::string_view member);

// Properties of these names, those that are set.
nlohmann::json pick(const nlohmann::json& properties, const std::vector<std::string>& names);
// Member names in lowerCamelCase, all the way down by the schema: keys of maps stay as they are.
nlohmann::json lower_camel(const nlohmann::json& v, const Schema& schema);
std::string lower_first(std::string name);
bool changed(const ResourceCall& c, std::string_view property);
bool any_changed(const ResourceCall& c, const std::vector<std::string>& names);
std::string text_at(const nlohmann::json& v, std::string_view key);

// c.tags as [{key,value}] and as {key: value}.
nlohmann::json lower_tags(const ResourceCall& c);
nlohmann::json map_tags(const ResourceCall& c);
// The tags carry this stack and logical id.
bool is_ours(const ResourceCall& c, const nlohmann::json& tags);
bool excluded(const ResourceCall& c, const std::string& physical_id);
// Tags that were removed, by key, and those that are new or different.
nlohmann::json removed_tag_keys(const ResourceCall& c);
nlohmann::json tag_list(const nlohmann::json& properties);

// Text of a policy document given as an object or as text.
std::string document_text(const nlohmann::json& document);

}  // namespace weir::cfn
