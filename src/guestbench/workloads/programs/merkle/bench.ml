(* The benchmark: commits to a versioned tree, the same for every store and every system.

   It uses the standard library alone and knows neither the store nor the system it runs on: what it
   needs of them comes in through [IO], [STORE] and [system]. Everything it does follows from the
   parameters, so that the digest is the same wherever the program runs. *)

module type IO = sig
  type 'a t

  val return : 'a -> 'a t
  val bind : 'a t -> ('a -> 'b t) -> 'b t
end

(* The monad of stores that never wait. *)
module Identity = struct
  type 'a t = 'a

  let return value = value
  let bind value f = f value
end

module type STORE = sig
  type 'a io
  type t
  type tree

  val name : string
  (** The name on the begin and end lines. *)

  val default_commits : int
  (** How many commits make a run of a few seconds in an emulated guest. *)

  val create : unit -> t io
  (** A store without any commit. *)

  val head : t -> tree io
  (** The tree of the newest commit, read anew from the store; an empty one before the first commit. *)

  val add : tree -> string list -> string -> tree io
  (** The tree with the contents of the leaf at this path replaced. *)

  val find : tree -> string list -> string option io
  val commit : t -> int -> tree -> string io

  (** Write the tree as commit of this number on top of the newest one. Returns the hash of the tree's
      root in lower-case hexadecimal digits. *)

  val facts : t -> (string * int) list
  (** What else there is to tell when the work is over, for people. *)
end

(* How the program was built, and what the system gives it. *)
type system = {
  source : string;  (** The first 16 hexadecimal digits of the SHA-256 of the sources. *)
  compiler : string;
  flags : string;
  clock_ns : unit -> int;  (** A monotonic clock. *)
}

type parameters = {
  commits : int;  (** How many commits are timed. *)
  depth : int;  (** Levels of nodes above the leaves. *)
  width : int;  (** Children of each node. *)
  changes : int;  (** Leaves that one commit draws and replaces; a leaf may be drawn twice. *)
}

exception Wrong of string
(** The store gave back something else than was put in. *)

let default_parameters commits = { commits; depth = 3; width = 16; changes = 10 }
let max_leaves = 1_000_000

(* No [int_of_string]: it also takes "0x10" and "1_0". *)
let parse_number text =
  let is_digit c = c >= '0' && c <= '9' in
  let length = String.length text in
  let rec all_digits i = i = length || (is_digit text.[i] && all_digits (i + 1)) in
  if length > 0 && length < 10 && all_digits 0 then Some (int_of_string text) else None

(* Leaves of the tree; beyond [max_leaves] some number above it, so that it never wraps around. *)
let leaves parameters =
  let rec go level count =
    if level = 0 || count > max_leaves then count else go (level - 1) (count * parameters.width)
  in
  go parameters.depth 1

let set parameters key value =
  let within least most store =
    match parse_number value with
    | Some number when least <= number && number <= most -> Ok (store number)
    | Some _ | None -> Error (Printf.sprintf "%s must be a number from %d to %d, not '%s'" key least most value)
  in
  match key with
  | "commits" -> within 1 1_000_000 (fun commits -> { parameters with commits })
  | "depth" -> within 1 8 (fun depth -> { parameters with depth })
  | "width" -> within 2 256 (fun width -> { parameters with width })
  | "changes" -> within 1 10_000 (fun changes -> { parameters with changes })
  | _ -> Error (Printf.sprintf "there is no parameter '%s'; there are commits, depth, width, changes" key)

(* The parameters that "key=value" words leave of the defaults, or what is wrong with a word. *)
let parse_parameters defaults words =
  let take parameters word =
    match (parameters, String.index_opt word '=') with
    | Error _, _ -> parameters
    | Ok _, None -> Error (Printf.sprintf "'%s' is not of the form key=value" word)
    | Ok parameters, Some i ->
        set parameters (String.sub word 0 i) (String.sub word (i + 1) (String.length word - i - 1))
  in
  match List.fold_left take (Ok defaults) words with
  | Ok parameters when leaves parameters > max_leaves ->
      Error
        (Printf.sprintf "width=%d and depth=%d make more than %d leaves" parameters.width parameters.depth max_leaves)
  | result -> result

(* One write(2): the channel's buffer is empty before and far larger than a line. *)
let say text =
  print_string text;
  flush stdout

let say_init_done () = say "[init done]\n"
let say_run_done () = say "[run done]\n"
let say_facts facts = List.iter (fun (name, value) -> say (Printf.sprintf "%s=%d\n" name value)) facts
let say_top_heap () = say (Printf.sprintf "top_heap_words=%d\n" (Gc.quick_stat ()).Gc.top_heap_words)

(* The generator of drand48(3): x' = (25214903917 x + 11) mod 2^48, of which the upper 31 bits are used.
   Integers of 63 bits wrap around modulo 2^63, which leaves the lower 48 bits right. *)
module Random_numbers = struct
  type t = { mutable state : int }

  let create () = { state = 20_000_101 }

  let below limit t =
    t.state <- ((t.state * 25_214_903_917) + 11) land ((1 lsl 48) - 1);
    (t.state lsr 17) mod limit
end

(* Children are named by two hexadecimal digits, so that their order as text is that of their numbers. *)
let names = Array.init 256 (Printf.sprintf "%02x")

let path parameters leaf =
  let rec up level leaf below =
    if level = 0 then below else up (level - 1) (leaf / parameters.width) (names.(leaf mod parameters.width) :: below)
  in
  up parameters.depth leaf []

let contents_bytes = 64

(* "LEAF VALUE" and full stops up to [contents_bytes]. *)
let contents leaf value =
  let text = string_of_int leaf ^ " " ^ string_of_int value in
  text ^ String.make (contents_bytes - String.length text) '.'

module Numbers = Set.Make (Int)

module Make (Io : IO) (Store : STORE with type 'a io := 'a Io.t) = struct
  let ( let* ) = Io.bind
  let defaults = default_parameters Store.default_commits

  (* The first commit, number 0: every leaf with the value 0. *)
  let plant parameters store =
    let rec add leaf tree =
      if leaf = leaves parameters then Io.return tree
      else
        let* tree = Store.add tree (path parameters leaf) (contents leaf 0) in
        add (leaf + 1) tree
    in
    let* tree = Store.head store in
    let* tree = add 0 tree in
    Store.commit store 0 tree

  let draw parameters random =
    let rec go n drawn =
      if n = 0 then List.rev drawn
      else
        let leaf = Random_numbers.below (leaves parameters) random in
        let value = Random_numbers.below 1_000_000_000 random in
        go (n - 1) ((leaf, value) :: drawn)
    in
    go parameters.changes []

  let rec change parameters tree = function
    | [] -> Io.return tree
    | (leaf, value) :: rest ->
        let* tree = Store.add tree (path parameters leaf) (contents leaf value) in
        change parameters tree rest

  (* Read the changes back, the latest first: only that one counts for a leaf drawn twice. *)
  let rec check parameters tree seen = function
    | [] -> Io.return ()
    | (leaf, _) :: rest when Numbers.mem leaf seen -> check parameters tree seen rest
    | (leaf, value) :: rest ->
        let* found = Store.find tree (path parameters leaf) in
        if found <> Some (contents leaf value) then
          raise (Wrong (Printf.sprintf "%s: leaf %d is not what was committed" Store.name leaf));
        check parameters tree (Numbers.add leaf seen) rest

  (* One unit of work: change leaves, commit, and read the changed leaves back from the store. *)
  let commit_once parameters store random number =
    let changes = draw parameters random in
    let* tree = Store.head store in
    let* tree = change parameters tree changes in
    let* root = Store.commit store number tree in
    let* tree = Store.head store in
    let* () = check parameters tree Numbers.empty (List.rev changes) in
    Io.return root

  let commit_all parameters store =
    let random = Random_numbers.create () in
    let roots = Buffer.create 4096 in
    let step = max 1 (parameters.commits / 10) in
    let rec go number =
      if number > parameters.commits then Io.return (Buffer.contents roots)
      else
        let* root = commit_once parameters store random number in
        Buffer.add_string roots root;
        Buffer.add_char roots '\n';
        if number mod step = 0 || number = parameters.commits then
          say (Printf.sprintf "\rcommits: %4d/%d" number parameters.commits);
        go (number + 1)
    in
    go 1

  (* The whole benchmark. [ready] is called when the store is planted, right before the begin line, and
     [over] right after the end line; there a program says [init done] and [run done]. Returns the
     store's facts.

     The digest is the hash of the root hashes of all timed commits, a line each. It is MD5, which is
     what the standard library of OCaml 4.13 has; two runs that differ by accident differ in it. *)
  let run system parameters ~ready ~over =
    let* store = Store.create () in
    let* _root = plant parameters store in
    (* What planting left behind, or a benchmark before this one, is not to be collected at its expense. *)
    Gc.full_major ();
    ready ();
    say
      (Printf.sprintf "[work begin %s source=%s compiler=%s flags=%s commits=%d depth=%d width=%d changes=%d]\n"
         Store.name system.source system.compiler system.flags parameters.commits parameters.depth parameters.width
         parameters.changes);
    let began_ns = system.clock_ns () in
    let* roots = commit_all parameters store in
    let digest = Digest.to_hex (Digest.string roots) in
    let guest_ns = system.clock_ns () - began_ns in
    say "\n";
    say (Printf.sprintf "[work end %s done=%d digest=%s guest_ns=%d]\n" Store.name parameters.commits digest guest_ns);
    over ();
    Io.return (Store.facts store)
end
