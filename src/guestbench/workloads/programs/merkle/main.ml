(* The merkle benchmark as a program for Linux. *)

module Benchmark = Bench.Make (Bench.Identity) (Merkle_store)

let () =
  let system = Linux.system ~source:Build_info.source ~compiler:Build_info.compiler ~flags:Build_info.flags in
  Linux.main Benchmark.defaults (Benchmark.run system)
