(* The irmin benchmark as a program for Linux. *)

module Benchmark = Bench.Make (Lwt) (Irmin_store)

(* A store in memory never waits, so that no event loop is needed to bring its promises about. *)
let result promise =
  match Lwt.state promise with
  | Lwt.Return value -> value
  | Lwt.Fail problem -> raise problem
  | Lwt.Sleep -> failwith "irmin waits for something that nobody does"

let () =
  let system = Linux.system ~source:Build_info.irmin_source ~compiler:Build_info.compiler ~flags:Build_info.flags in
  Linux.main Benchmark.defaults (fun parameters ~ready ~over ->
      result (Benchmark.run system parameters ~ready ~over))
