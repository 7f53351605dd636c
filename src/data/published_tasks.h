// The converters behind the rows of task_catalog.cpp.
#pragma once
#include "data/task_catalog.h"

namespace sluice::data {

void convert_boolq(std::string_view line, const std::string& where, const ItemSink& add);
void convert_rte(std::string_view line, const std::string& where, const ItemSink& add);
void convert_wsc(std::string_view line, const std::string& where, const ItemSink& add);
void convert_wic(std::string_view line, const std::string& where, const ItemSink& add);
void convert_copa(std::string_view line, const std::string& where, const ItemSink& add);
void convert_multirc(std::string_view line, const std::string& where, const ItemSink& add);
void convert_hellaswag(std::string_view line, const std::string& where, const ItemSink& add);
void convert_arc(std::string_view line, const std::string& where, const ItemSink& add);
void convert_lambada(std::string_view line, const std::string& where, const ItemSink& add);

}  // namespace sluice::data
