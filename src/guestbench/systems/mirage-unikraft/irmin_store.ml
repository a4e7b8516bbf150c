(* Irmin's store in memory, as the benchmark wants it. *)

open Lwt.Infix
module Store = Irmin_mem.KV.Make (Irmin.Contents.String)

type t = Store.t
type tree = Store.tree

let name = "irmin"
let default_commits = 600
let create () = Store.Repo.v (Irmin_mem.config ()) >>= Store.main
let head store = Store.tree store
let add tree path contents = Store.Tree.add tree path contents
let find tree path = Store.Tree.find tree path

(* A date of its own would make every run's commits others; the number does as well. *)
let info number () = Store.Info.v ~author:"guestbench" ~message:"commit" (Int64.of_int number)

let commit store number tree =
  Store.set_tree_exn ~info:(info number) store [] tree >|= fun () ->
  Irmin.Type.to_string Store.Hash.t (Store.Tree.hash tree)

let facts _ = []
