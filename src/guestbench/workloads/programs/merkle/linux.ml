(* What a benchmark needs of Linux, as a program among others or as a guest's only process.

   The end is the guest's as well where the program is process 1: then it switches the machine off, since
   the kernel panics when process 1 exits. *)

external clock_ns : unit -> int = "guestbench_clock_ns" [@@noalloc]

external finish : int -> 'a = "guestbench_finish"
(** End with this exit status, or switch the machine off as process 1; never returns. *)

let system ~source ~compiler ~flags = { Bench.source; compiler; flags; clock_ns }

(* A standard output that cannot be written is no reason to let process 1 end. *)
let fail status message =
  (try Bench.say (Printf.sprintf "error: %s\n" message) with Sys_error _ -> ());
  finish status

(* Parse the program's arguments and run the benchmark between the two markers. *)
let main defaults run =
  match Bench.parse_parameters defaults (List.tl (Array.to_list Sys.argv)) with
  | Error message -> fail 2 message
  | Ok parameters -> (
      match run parameters ~ready:Bench.say_init_done ~over:Bench.say_run_done with
      | facts ->
          Bench.say_facts facts;
          Bench.say_top_heap ();
          finish 0
      | exception Bench.Wrong message -> fail 1 message
      | exception problem -> fail 1 (Printexc.to_string problem))
