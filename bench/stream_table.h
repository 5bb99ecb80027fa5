#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace weir::bench {

// Streams of one connection by id: open addressing, so that the tools cost little beside what they measure.
// Pointers are good until the next insert or erase.
template <typename Stream>
class StreamTable {
 public:
  StreamTable() : cells_(16) {}

  Stream* find(uint32_t id) {
    for (size_t i = home(id);; i = next(i)) {
      if (cells_[i].id == id) return &cells_[i].stream;
      if (cells_[i].id == 0) return nullptr;
    }
  }

  Stream& insert(uint32_t id) {
    if (2 * (size_ + 1) > cells_.size()) grow();
    size_++;
    return *place(id);
  }

  void erase(uint32_t id) {
    size_t hole = home(id);
    while (cells_[hole].id != id) hole = next(hole);
    // Close the gap: move back each later cell of the run that would no longer be found.
    for (size_t i = next(hole); cells_[i].id != 0; i = next(i)) {
      size_t distance = (i - home(cells_[i].id)) & mask();
      if (distance < ((i - hole) & mask())) continue;
      cells_[hole] = std::move(cells_[i]);
      hole = i;
    }
    cells_[hole] = Cell();
    size_--;
  }

  template <typename Visit>
  void each(Visit visit) {
    for (Cell& cell : cells_) {
      if (cell.id != 0) visit(cell.id, cell.stream);
    }
  }

  size_t size() const { return size_; }

 private:
  struct Cell {
    uint32_t id = 0;
    Stream stream;
  };

  size_t mask() const { return cells_.size() - 1; }
  size_t home(uint32_t id) const { return (id >> 1) & mask(); }
  size_t next(size_t i) const { return (i + 1) & mask(); }

  Stream* place(uint32_t id) {
    size_t i = home(id);
    while (cells_[i].id != 0) i = next(i);
    cells_[i].id = id;
    return &cells_[i].stream;
  }

  void grow() {
    std::vector<Cell> old(cells_.size() * 2);
    old.swap(cells_);
    for (Cell& cell : old) {
      if (cell.id != 0) *place(cell.id) = std::move(cell.stream);
    }
  }

  std::vector<Cell> cells_;
  size_t size_ = 0;
};

}  // namespace weir::bench
