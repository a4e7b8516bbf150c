(* The benchmarks as a MirageOS unikernel: merkle, then irmin, then the end of the guest.

   Boot arguments: --work=merkle,irmin says which and in which order; the words of the form key=value that
   follow are the parameters of each of them, as in "--work=irmin commits=500 width=8". *)

open Lwt.Infix
open Cmdliner
module Merkle_benchmark = Bench.Make (Bench.Identity) (Merkle_store)
module Irmin_benchmark = Bench.Make (Lwt) (Irmin_store)

let work =
  let doc = "The benchmarks to run, one after the other." in
  Mirage_runtime.register_arg Arg.(value & opt (list string) [ "merkle"; "irmin" ] & info ~doc ~docv:"NAMES" [ "work" ])

(* Text to the argument parser, so that what is wrong with it is said as everywhere else. *)
let words =
  let doc = "A parameter of the benchmarks, as in commits=500." in
  Mirage_runtime.register_arg Arg.(value & pos_all string [] & info ~doc ~docv:"KEY=VALUE" [])

let clock_ns () = Int64.to_int (Mirage_mtime.elapsed_ns ())

let system source = { Bench.source; compiler = Build_info.compiler; flags = Build_info.flags; clock_ns }

(* A benchmark that only has to be told what to call when, or what is wrong with its name or parameters. *)
let prepare name =
  let with_parameters defaults run =
    match Bench.parse_parameters defaults (words ()) with
    | Ok parameters -> Ok (run parameters)
    | Error message -> Error message
  in
  match name with
  | "merkle" ->
      with_parameters Merkle_benchmark.defaults (fun parameters ~ready ~over ->
          Lwt.return (Merkle_benchmark.run (system Build_info.merkle_source) parameters ~ready ~over))
  | "irmin" ->
      with_parameters Irmin_benchmark.defaults (Irmin_benchmark.run (system Build_info.irmin_source))
  | _ -> Error (Printf.sprintf "there is no benchmark '%s'; there are merkle, irmin" name)

let rec prepare_all = function
  | [] -> Ok []
  | name :: rest -> (
      match (prepare name, prepare_all rest) with
      | Ok run, Ok others -> Ok (run :: others)
      | Error message, _ | _, Error message -> Error message)

(* The markers enclose all benchmarks: the first one's beginning and the last one's end. *)
let rec run_all ready facts = function
  | [] -> Lwt.return facts
  | run :: rest ->
      let over = if List.is_empty rest then Bench.say_run_done else ignore in
      run ~ready ~over >>= fun more -> run_all ignore (facts @ more) rest

let fail message =
  Bench.say (Printf.sprintf "error: %s\n" message);
  Lwt.return_unit

(* The program that mirage makes of this ends with [exit 0], which on Unikraft 0.18 leaves the guest on: whoever
   watches knows the end by its marker. *)
let start () =
  match prepare_all (work ()) with
  | Error message -> fail message
  | Ok [] -> fail "there is no benchmark to run"
  | Ok runs ->
      Lwt.catch
        (fun () ->
          run_all Bench.say_init_done [] runs >|= fun facts ->
          Bench.say_facts facts;
          Bench.say_top_heap ())
        (function Bench.Wrong message -> fail message | problem -> fail (Printexc.to_string problem))
